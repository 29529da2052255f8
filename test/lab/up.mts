import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { messageOf } from '../../lib/base/errors.mts'
import { appsImage } from './apps-image.mts'
import { boot, untilReached, type Found, type Parts } from './boot.mts'
import { alerts, bastion, machines, minio, nodes, vault, type Machine } from './containers.mts'
import { engine as reachEngine, type Engine } from './engine.mts'
import { findBase, images } from './images.mts'
import { ingressImage } from './ingress-image.mts'
import { sshKeys } from './keys.mts'
import { locked } from './lock.mts'
import { ensureNetworks } from './networks.mts'
import { cache, project } from './place.mts'
import type { Progress } from './progress.mts'
import { raiseLimits } from './limits.mts'
import { realAppImages } from './real-apps.mts'
import { build, release, releaseFolder, type Release } from './release.mts'
import { settingsFile } from './settings.mts'
import { unsealVault, vaultFiles, vaultFolder } from './vault.mts'

/** The lab as it stands after `up`. */
export type Lab = { engine: Engine; release: Release; ingress: { official: boolean }; found: Map<string, Found> }

/** The machines whose programs are built: they boot last. */
const late = [minio, vault]

/** MinIO's programs, which minio-01 has at /opt/minio. */
const minioFolder = join(cache, 'minio', 'bin')

/** The key of alerts-01's mail server, which the build of the monitoring images leaves there: they trust it. */
const tlsFolder = join(cache, 'monitoring', 'tls')

/** What machines are made from, once their images, keys and networks are there. */
export const gather = async (engine: Engine, progress: Progress): Promise<Parts> => {
  await ensureNetworks(engine, progress)
  for (const folder of [tlsFolder, vaultFolder]) await mkdir(folder, { recursive: true })
  return {
    engine,
    images: await images(engine, progress),
    keys: await sshKeys([bastion, vault, ...nodes].map(({ name }) => name)),
    mounts: [
      { machine: bastion.name, from: project, to: '/opt/keybuzz' },
      { machine: bastion.name, from: settingsFile, to: '/opt/keybuzz/settings.yaml' },
      { machine: bastion.name, from: releaseFolder, to: '/artifacts' },
      { machine: minio.name, from: minioFolder, to: '/opt/minio' },
      { machine: vault.name, from: vaultFolder, to: '/opt/vault' },
      { machine: alerts.name, from: tlsFolder, to: '/opt/alerts' }
    ],
    given: await vaultFiles()
  }
}

/** Boots these machines, all at once; every one is waited for, and every failure is told. */
export const bootAll = async (
  some: Machine[],
  parts: Parts,
  progress: Progress,
  say: (text: string) => void = () => undefined
): Promise<Map<string, Found>> => {
  const found = new Map<string, Found>()
  const failures: string[] = []
  await Promise.all(
    some.map(async (machine) => {
      try {
        found.set(machine.name, await boot(machine, parts))
        say(`${found.size} of ${some.length} up`)
      } catch (error) {
        failures.push(`${machine.name}: ${messageOf(error)}`)
      }
    })
  )
  const older = [...found].filter(([, how]) => how === 'older').map(([name]) => name)
  if (older.length > 0)
    progress.note(`Kept with their state, though made from older inputs: ${older.join(', ')}. Down and up renews them.`)
  if (failures.length > 0) throw new Error(`Not up: ${failures.join('\n        ')}`)
  const fresh = some.filter(({ image, name }) => image === 'node' && found.get(name) !== 'running')
  if (fresh.length > 0) await untilReached(parts.engine, bastion, fresh)
  return found
}

/**
 * Brings the whole lab up, from nothing or from half: what runs is left alone, what stopped is started with its state,
 * what is missing is made. With `realApps` n8n and Superset are the real ones.
 */
export const up = (progress: Progress, { realApps = false }: { realApps?: boolean } = {}): Promise<Lab> =>
  locked((pid) => progress.note(`Waiting for process ${pid}, which is changing the lab`), async () => {
    const engine = await reachEngine(progress)
    await findBase(engine, progress)
    const boots = async (): Promise<{ parts: Parts; found: Map<string, Found> }> => {
      const parts = await gather(engine, progress)
      await raiseLimits(engine, parts.images.tools, progress)
      const some = machines.filter((one) => !late.includes(one))
      return { parts, found: await progress.task('machines', (say) => bootAll(some, parts, progress, say)) }
    }
    // These are the long part of a cold start, one after the other for want of processors; to boot takes neither.
    const builds = async () => {
      const built = { release: await release(progress, realApps), ingress: await ingressImage(engine, progress) }
      await progress.task('MinIO', (say) => build('minio', minioFolder, say))
      await appsImage(progress)
      await realAppImages(realApps, progress)
      await progress.task('monitoring images', (say) => build('monitoring', join(releaseFolder, 'images'), say))
      await progress.task('Vault', (say) => build('vault', join(releaseFolder, 'images'), say))
      return built
    }
    const [built, machinesUp] = await Promise.allSettled([builds(), boots()])
    if (machinesUp.status === 'rejected') throw machinesUp.reason
    if (built.status === 'rejected') throw built.reason
    const { parts, found } = machinesUp.value
    const last = await progress.task(late.map(({ name }) => name).join(' and '), () => bootAll(late, parts, progress))
    await progress.task('Vault unsealed', () => unsealVault(engine))
    return { engine, ...built.value, found: new Map([...found, ...last]) }
  })
