import { access, chmod, link, mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { $ } from 'zx'
import { artifacts } from '../../lib/reach/release.mts'
import { readSettings } from '../../lib/input/settings.mts'
import { cache, project } from './place.mts'
import type { Progress } from './progress.mts'
import { writeSettings } from './settings.mts'

/** The K3s that the lab has: the official release, or the lab's double, whose version ends in -lab. */
export type Release = { version: string; official: boolean }

/** The release's files, which the bastion has at /artifacts. A folder that stays, since it is mounted. */
export const releaseFolder = join(cache, 'artifacts')

/** Which release is in the folder. */
const marker = join(cache, 'release.json')

const read = async (): Promise<Release | undefined> =>
  readFile(marker, 'utf8').then((text) => JSON.parse(text) as Release, () => undefined)

/** Puts the files of a folder into the release's, as further names of the same data. */
const place = async (from: string): Promise<void> => {
  await mkdir(releaseFolder, { recursive: true })
  const names = (await readdir(from)).filter((name) => /^(k3s|k3s-airgap-images-.*|sha256sum-.*\.txt)$/.test(name))
  for (const name of names) {
    const [now, wanted] = await Promise.all([
      stat(join(releaseFolder, name)).catch(() => undefined),
      stat(join(from, name))
    ])
    if (now?.ino === wanted.ino && now.dev === wanted.dev) continue
    const part = join(releaseFolder, `.${name}.part`)
    await rm(part, { force: true })
    await link(join(from, name), part).catch(() => $({ quiet: true })`cp ${join(from, name)} ${part}`)
    await rename(part, join(releaseFolder, name))
  }
  for (const name of await readdir(releaseFolder))
    if (!names.includes(name) && name !== 'images') await rm(join(releaseFolder, name), { force: true })
  if (names.includes('k3s')) await chmod(join(releaseFolder, 'k3s'), 0o755)
}

const versionOf = async (): Promise<string> => {
  const { stdout } = await $({ quiet: true })`${join(releaseFolder, 'k3s')} --version`
  const version = /^k3s version (\S+)/.exec(stdout)?.[1]
  if (!version) throw new Error(`${releaseFolder}/k3s does not tell its version`)
  return version
}

const reachable = async (url: string): Promise<boolean> =>
  fetch(url, { method: 'HEAD', signal: AbortSignal.timeout(10_000) }).then(({ ok }) => ok, () => false)

/** The release that settings.yaml names, downloaded and verified as the scripts do it, where it is in reach. */
const download = async (say: (text: string) => void): Promise<string | undefined> => {
  const settings = await readSettings(join(project, 'settings.yaml'))
  const { version, release_url: url } = settings.k3s
  const kept = join(cache, 'k3s', version)
  const there = await access(join(kept, 'k3s')).then(() => true, () => false)
  say(`looking for ${version}`)
  if (!there && !(await reachable(`${url}/${encodeURIComponent(version)}/sha256sum-amd64.txt`))) return undefined
  await artifacts(settings, { cache: join(cache, 'k3s'), say })
  return kept
}

/**
 * Runs a folder's `build`, which leaves its files in another folder. Its own cache makes that a matter of a moment where
 * nothing changed.
 */
export const build = async (what: 'k3s' | 'ingress' | 'minio' | 'apps' | 'real-apps' | 'monitoring' | 'vault', folder: string, say: (text: string) => void): Promise<void> => {
  await mkdir(folder, { recursive: true })
  const building = $({ quiet: true, nothrow: true })`${join(import.meta.dirname, what, 'build')} ${folder}`
  const words: string[] = []
  const listen = (stream: NodeJS.ReadableStream): void => {
    createInterface({ input: stream }).on('line', (line) => {
      words.push(line)
      say(line.replace(/^[\d:]+ \w+: /, ''))
    })
  }
  listen(building.stdout)
  listen(building.stderr)
  const { exitCode } = await building
  if (exitCode !== 0) throw new Error(`The lab's ${what} could not be built:\n${words.slice(-20).join('\n')}`)
}

const double = join(cache, 'k3s', 'double')

/**
 * Sees to it that /artifacts holds a K3s release: the folder in KEYBUZZ_LAB_RELEASE, else the official one where it can
 * be downloaded, else the lab's double. The choice stays until the folder in the cache is deleted. Writes the bastion's
 * settings, which name its version.
 */
export const release = async (progress: Progress, realApps: boolean): Promise<Release> => {
  await mkdir(releaseFolder, { recursive: true })
  const before = await read()
  const given = process.env['KEYBUZZ_LAB_RELEASE']
  const official = await readSettings(join(project, 'settings.yaml')).then(({ k3s }) => k3s.version)
  await writeSettings({ version: before?.version, realApps })
  if (!given && before?.official && before.version === official) return before
  return progress.task('K3s', async (say) => {
    const found = given ?? (before && !before.official ? undefined : await download(say))
    if (!found && !before)
      progress.note('The official K3s cannot be reached: the lab builds its double from the same Kubernetes minor')
    if (!found) await build('k3s', double, say)
    await place(found ?? double)
    const version = await versionOf()
    const now = { version, official: !version.endsWith('-lab') }
    await writeSettings({ version, realApps })
    await writeFile(marker, JSON.stringify(now))
    return now
  })
}
