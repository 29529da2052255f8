import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { chmod, mkdir, readFile, rename, stat, writeFile } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { createZstdDecompress } from 'node:zlib'
import { local } from '../base/environment.mts'
import { home } from '../base/home.mts'
import { duration, megabytes } from '../base/words.mts'
import { download, HttpError, partOf, sweep } from './download.mts'
import { type Fault, isMissing, messageOf, UsageError } from '../base/errors.mts'
import type { Settings } from '../input/settings.mts'

/** A file of a release on the bastion, and the SHA-256 (hex) that it was found to have. */
export type Artifact = { file: string; sha256: string }

/**
 * The files of a K3s release for the nodes and the bastion: `k3s` is executable and `k3s kubectl` is its kubectl.
 * `folder` is where they are. It may hold further images (lib/node/images.mts). `busybox` is the name of the one image in
 * `images` that has a shell: what our own pods run, so that nodes without internet have it.
 */
export type Release = { k3s: Artifact; images: Artifact; folder: string; busybox: string }

export type ArtifactOptions = {
  /** A folder that holds the files already (--artifacts). Goes before settings.k3s.artifacts. */
  dir?: string | undefined
  /** Where downloads are kept (default ~/.keybuzz/cache). */
  cache?: string
  signal?: AbortSignal | undefined
  /** Called with a line for each thing that takes long. */
  say?: (line: string) => void
}

/** The names that K3s gives the files of a release (K: install.sh). */
type Names = { k3s: string; images: string; sums: string }

const ARCHITECTURES: Record<string, string> = { x64: 'amd64' }

const namesFor = (arch: string): Names => ({
  k3s: arch === 'amd64' ? 'k3s' : `k3s-${arch}`,
  images: `k3s-airgap-images-${arch}.tar.zst`,
  sums: `sha256sum-${arch}.txt`
})

// Where the archive does not say: the busybox of K3s v1.36 (its scripts/airgap/image-list.txt), for local-path's helper pod.
const usualBusybox = 'rancher/mirrored-library-busybox:1.37.0'

const defaultCache = home('cache')

const WANTED = ['k3s', 'images'] as const

const exists = async (file: string): Promise<boolean> => {
  try {
    return (await stat(file)).isFile()
  } catch (error) {
    if (isMissing(error)) return false
    throw error
  }
}

// What is known about a file, as long as it does not change: hashing 300 MB in each run would take seconds.
type Memory = Record<string, { stamp: string; sha256: string; version?: string; busybox?: string }>

const recall = async (memory: string): Promise<Memory> => {
  try {
    const known: unknown = JSON.parse(await readFile(memory, 'utf8'))
    return typeof known === 'object' && known !== null ? known as Memory : {}
  } catch {
    return {}
  }
}

const remember = async (memory: string, entries: Memory): Promise<void> => {
  await mkdir(dirname(memory), { recursive: true, mode: 0o700 })
  const temporary = partOf(memory)
  await writeFile(temporary, JSON.stringify({ ...await recall(memory), ...entries }, undefined, 2), { mode: 0o600 })
  await rename(temporary, memory)
}

const hashOf = async (file: string): Promise<string> => {
  const hash = createHash('sha256')
  await pipeline(createReadStream(file), hash)
  return hash.digest('hex')
}

/** What `k3s --version` says, or why it says nothing. Its first line is `k3s version v1.36.5+k3s1 (hash)`. */
const versionOf = async (file: string): Promise<string> => {
  const { exitCode, stdout, stderr } = await local({ nothrow: true, seconds: 30 })`${file} --version`
  return /^k3s version (\S+)/.exec(stdout)?.[1] ?? `exit ${exitCode}: ${stderr.trim().split(': ').at(-1)}`
}

const examine = async (file: string, isBinary: boolean, memory: string) => {
  const { size, mtimeMs, ctimeMs } = await stat(file)
  const stamp = `${size} ${mtimeMs} ${ctimeMs}`
  const known = (await recall(memory))[file]
  if (known?.stamp === stamp && typeof known.sha256 === 'string') return known
  const found = { stamp, sha256: await hashOf(file), ...(isBinary ? { version: await versionOf(file) } : {}) }
  // A binary that gave no version may give one next time.
  if (!isBinary || found.version?.startsWith('v')) await remember(memory, { [file]: found })
  return found
}

/** The busybox in the release's archive of images, by the name that pods use. Read once for each archive: it takes seconds. */
const busyboxOf = async (file: string, memory: string): Promise<string> => {
  const known = (await recall(memory))[file]
  if (known && typeof known.busybox !== 'string') {
    known.busybox = await busyboxIn(file)
    await remember(memory, { [file]: known })
  }
  return known?.busybox || usualBusybox
}

// '' where it has none, or cannot be read. The name goes into manifests.
const busyboxIn = async (file: string): Promise<string> => {
  const tar = local({ writes: true, seconds: 120, nothrow: true })`tar --extract --to-stdout --file - manifest.json`
  // tar may end before it has read all: then the pipe breaks, and its words are whole.
  await pipeline(createReadStream(file), createZstdDecompress(), tar.stdin).catch(() => {})
  try {
    const saved = JSON.parse((await tar).stdout) as { RepoTags?: string[] | null }[]
    const names = saved.flatMap(({ RepoTags }) => RepoTags ?? []).map((name) => name.replace(/^docker\.io\//, ''))
    return names.find((name) => /^rancher\/(mirrored-library-|library-)?busybox:\w[\w.-]{0,127}$/.test(name)) ?? ''
  } catch {
    return ''
  }
}

/** The SHA-256 of a file. The file is only read if it has changed. */
export const sha256Of = async (file: string): Promise<string> =>
  (await examine(file, false, join(defaultCache, 'verified.json'))).sha256

/** The release for a runbook: the names of its files, and placeholders for their sums. */
export const releaseByName = ({ k3s }: Pick<Settings, 'k3s'>): Release => {
  const { k3s: binary, images } = namesFor('amd64')
  return {
    k3s: { file: binary, sha256: '<SHA256_OF_K3S>' },
    images: { file: images, sha256: '<SHA256_OF_IMAGES>' },
    folder: k3s.artifacts || join(defaultCache, k3s.version),
    busybox: usualBusybox
  }
}

/** How to get and verify the files of the release by hand, in Markdown. */
export const releaseByHand = ({ k3s }: Pick<Settings, 'k3s'>): string => {
  const { k3s: binary, images, sums } = namesFor('amd64')
  return `The files of K3s ${k3s.version} are \`${binary}\`, \`${images}\` and \`${sums}\`, from ${releaseUrl(k3s)} or the
bastion's ~/.keybuzz/cache/${k3s.version}. Put them into the folder that you work in, and verify them:

\`\`\`bash
sha256sum --check --ignore-missing ${sums}
chmod 0755 ${binary}
\`\`\`

\`<SHA256_OF_K3S>\` and \`<SHA256_OF_IMAGES>\` stand for the sums of the two files in \`${sums}\`.`
}

const parseSums = (text: string): Map<string, string> => {
  const entries = [...text.matchAll(/^([0-9a-f]{64}) [ *](?:.*\/)?(\S+)\r?$/gm)]
  return new Map(entries.map(([, sum = '', name = '']) => [name, sum]))
}

const missing = (file: string, version: string): Fault => ({
  file, what: 'file', expected: 'it to be there',
  remedy: `The folder must hold ${basename(file)} of K3s ${version}; without a folder it is downloaded.`
})

type Folder = { folder: string; names: Names; version: string; memory: string }

/** All faults in the files of the folder, or the release. */
const inspect = async ({ folder, names, version, memory }: Folder): Promise<{ release: Release; faults: Fault[] }> => {
  const faults: Fault[] = []
  const paths = { k3s: join(folder, names.k3s), images: join(folder, names.images), sums: join(folder, names.sums) }
  const release: Release = { k3s: { file: paths.k3s, sha256: '' }, images: { file: paths.images, sha256: '' }, folder, busybox: usualBusybox }
  const hasSums = await exists(paths.sums)
  if (!hasSums) faults.push(missing(paths.sums, version))
  const sums = hasSums ? parseSums(await readFile(paths.sums, 'utf8')) : new Map<string, string>()
  for (const wanted of WANTED) {
    const file = paths[wanted]
    const expected = sums.get(names[wanted])
    if (hasSums && expected === undefined) {
      faults.push({
        file: paths.sums, what: names[wanted], expected: 'a line with its SHA-256',
        remedy: 'Get the file again from the release.'
      })
    }
    if (!await exists(file)) {
      faults.push(missing(file, version))
      continue
    }
    if (expected === undefined) continue
    const found = await examine(file, wanted === 'k3s', memory)
    release[wanted].sha256 = expected
    if (found.sha256 !== expected) {
      faults.push({
        file, what: 'SHA-256', value: found.sha256, expected: `${expected}, as ${names.sums} says`,
        remedy: 'The file is damaged or of another release: get it again.'
      })
    } else if (wanted === 'k3s' && found.version !== version) {
      faults.push({
        file, what: 'version', value: found.version ?? '', expected: `${version}, as k3s.version in the settings says`,
        remedy: 'Correct the setting, or provide the files of that release, and let the binary be executable.'
      })
    }
  }
  if (faults.length === 0) release.busybox = await busyboxOf(paths.images, memory)
  return { release, faults }
}

const fill = async (target: Folder, url: string, { signal, say = () => {} }: ArtifactOptions): Promise<void> => {
  const { folder, names, version } = target
  await mkdir(folder, { recursive: true, mode: 0o700 })
  await sweep(folder)
  const get = async (name: string, sha256?: string) => {
    const started = performance.now()
    say(`downloading ${name} of K3s ${version}`)
    const progress = (bytes: number, total = bytes) => say(`${name}: ${megabytes(bytes)} of ${megabytes(total)}`)
    await download(`${url}/${name}`, join(folder, name), { signal, progress, ...(sha256 ? { sha256 } : {}) })
    say(`downloaded ${name} in ${duration((performance.now() - started) / 1000)}`)
  }
  await get(names.sums)
  const sums = parseSums(await readFile(join(folder, names.sums), 'utf8'))
  for (const wanted of WANTED) {
    const name = names[wanted]
    const file = join(folder, name)
    const sha256 = sums.get(name)
    if (sha256 === undefined) throw new Error(`${url}/${names.sums} has no SHA-256 of ${name}`)
    if (!await exists(file) || await hashOf(file) !== sha256) await get(name, sha256)
    if (wanted === 'k3s') await chmod(file, 0o755)
  }
}

const explain = (error: unknown, version: string, url: string): Error => {
  if (error instanceof HttpError && error.status === 404) {
    return new UsageError([{
      file: 'settings', what: 'k3s.version', value: version, expected: `a release that is at ${url} (404)`,
      remedy: 'Correct k3s.version, or k3s.release_url.'
    }])
  }
  return new Error(`${messageOf(error)}. Run it again, or put the files of K3s ${version} into a folder and name it with `
    + '--artifacts.', { cause: error })
}

const releaseUrl = ({ release_url, version }: Settings['k3s']): string =>
  `${release_url.replace(/\/+$/, '')}/${encodeURIComponent(version)}`

/**
 * The files of the K3s release that the settings name: from the given folder, else from the cache, else downloaded into
 * it. Each is checked against the release's own SHA-256 sums, and the binary is asked for its version. The results are
 * remembered, so that a second run reads no file again. Throws a UsageError for a fault in the folder or the version, any
 * other error for a failed download.
 */
export const artifacts = async (
  { k3s }: Pick<Settings, 'k3s'>,
  options: ArtifactOptions = {}
): Promise<Release> => {
  const { dir, cache = defaultCache } = options
  const arch = ARCHITECTURES[process.arch]
  if (arch === undefined) throw new Error(`K3s has no release for ${process.arch}: use a bastion with amd64, as the nodes are.`)
  const given = dir || k3s.artifacts
  const folder = given ? resolve(given) : join(cache, k3s.version)
  const target = { folder, names: namesFor(arch), version: k3s.version, memory: join(cache, 'verified.json') }

  const first = await inspect(target)
  if (first.faults.length === 0) return first.release
  if (given) throw new UsageError(first.faults)

  const url = releaseUrl(k3s)
  try {
    await fill(target, url, options)
  } catch (error) {
    options.signal?.throwIfAborted()
    throw explain(error, k3s.version, url)
  }
  const { release, faults } = await inspect(target)
  if (faults.length > 0) throw new UsageError(faults)
  return release
}
