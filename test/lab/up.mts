import { join } from 'node:path'
import { messageOf } from '../../lib/base/errors.mts'
import { appsImage } from './apps-image.mts'
import { boot, untilReached, type Found, type Parts } from './boot.mts'
import { bastion, machines, minio, nodes, type Machine } from './containers.mts'
import { engine as reachEngine, type Engine } from './engine.mts'
import { findBase, images } from './images.mts'
import { ingressImage } from './ingress-image.mts'
import { sshKeys } from './keys.mts'
import { locked } from './lock.mts'
import { ensureNetworks } from './networks.mts'
import { cache, project } from './place.mts'
import type { Progress } from './progress.mts'
import { raiseLimits } from './limits.mts'
import { build, release, releaseFolder, type Release } from './release.mts'
import { settingsFile } from './settings.mts'

/** The lab as it stands after `up`. */
export type Lab = { engine: Engine; release: Release; ingress: { official: boolean }; found: Map<string, Found> }

/** MinIO's programs, which minio-01 has at /opt/minio. */
const minioFolder = join(cache, 'minio', 'bin')

/** What machines are made from, once their images, keys and networks are there. */
export const gather = async (engine: Engine, progress: Progress): Promise<Parts> => {
  await ensureNetworks(engine, progress)
  return {
    engine,
    images: await images(engine, progress),
    keys: await sshKeys([bastion.name, ...nodes.map(({ name }) => name)]),
    mounts: [
      { machine: bastion.name, from: project, to: '/opt/keybuzz' },
      { machine: bastion.name, from: settingsFile, to: '/opt/keybuzz/settings.yaml' },
      { machine: bastion.name, from: releaseFolder, to: '/artifacts' },
      { machine: minio.name, from: minioFolder, to: '/opt/minio' }
    ]
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
 * what is missing is made.
 */
export const up = (progress: Progress): Promise<Lab> =>
  locked((pid) => progress.note(`Waiting for process ${pid}, which is changing the lab`), async () => {
    const engine = await reachEngine(progress)
    await findBase(engine, progress)
    const boots = async (): Promise<{ parts: Parts; found: Map<string, Found> }> => {
      const parts = await gather(engine, progress)
      await raiseLimits(engine, parts.images.tools, progress)
      const some = machines.filter((one) => one !== minio)
      return { parts, found: await progress.task('machines', (say) => bootAll(some, parts, progress, say)) }
    }
    // These are the long part of a cold start, one after the other for want of processors; to boot takes neither.
    const builds = async () => {
      const built = { release: await release(progress), ingress: await ingressImage(engine, progress) }
      await progress.task('MinIO', (say) => build('minio', minioFolder, say))
      await appsImage(progress)
      return built
    }
    const [built, machinesUp] = await Promise.allSettled([builds(), boots()])
    if (machinesUp.status === 'rejected') throw machinesUp.reason
    if (built.status === 'rejected') throw built.reason
    const { parts, found } = machinesUp.value
    const last = await progress.task(minio.name, () => bootAll([minio], parts, progress))
    return { engine, ...built.value, found: new Map([...found, ...last]) }
  })
