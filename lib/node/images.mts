import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { type Artifact, sha256Of } from '../reach/release.mts'
import { local } from '../base/environment.mts'
import { type Fault, isMissing, quoted, UsageError } from '../base/errors.mts'
import type { Host } from '../input/inventory.mts'
import { login, type Ssh } from '../reach/ssh.mts'
import type { NodeStep } from '../run/step.mts'
import { copyByHand, sudo } from './k3s.mts'

/** An archive of images on the bastion, as `docker save` writes it, and the images in it by their full names. */
export type Archive = Artifact & { name: string; images: string[]; /** Servers do without it. */ onlyWorkers: boolean }

const ofWorkers = 'workers'

/**
 * The archives in a folder's subfolder `images`, and in `images/workers` those that servers do without. None if these are
 * missing. `say` is told of each file there that is no `.tar`. Throws a UsageError for archives that no node could use:
 * without names, with names that are none or are there twice, of another architecture.
 */
export const imageArchives = async (folder: string, say: (line: string) => void): Promise<Archive[]> => {
  const images = join(folder, 'images')
  const everywhere = await archivesIn(images, false, say)
  const workers = await archivesIn(join(images, ofWorkers), true, say)
  const twice = workers.filter(({ name }) => everywhere.some((other) => other.name === name))
  if (twice.length > 0) {
    throw new UsageError(twice.map(({ name, file }) => ({
      file, what: 'file name', value: name, expected: `another one than in ${images}`, remedy: 'Keep one of the two.'
    })))
  }
  return [...everywhere, ...workers]
}

const archivesIn = async (images: string, onlyWorkers: boolean, say: (line: string) => void): Promise<Archive[]> => {
  const all = (await readdir(images).catch(noneIfMissing)).filter((name) => name !== ofWorkers).toSorted()
  const names = all.filter((name) => name.endsWith('.tar'))
  for (const name of all.filter((one) => !one.endsWith('.tar'))) {
    say(`${images}: ${quoted(name)} is skipped, only names that end in .tar are taken. Hint: unpack it (gunzip, zstd -d), or rename it`)
  }
  const odd = names.filter((name) => !/^[\w.+@-]+$/.test(name))
  if (odd.length > 0) {
    throw new UsageError(odd.map((name) => ({
      file: images, what: 'file name', value: name, expected: 'letters, digits and . _ + @ - only', remedy: 'Rename the file.'
    })))
  }
  const contents = await Promise.all(names.map((name) => readArchive(join(images, name))))
  const faults = contents.flatMap((content) => content.faults)
  if (faults.length > 0) throw new UsageError(faults)
  return Promise.all(names.map(async (name, index) => {
    const file = join(images, name)
    return { name, file, sha256: await sha256Of(file), images: contents[index]!.images, onlyWorkers }
  }))
}

const noneIfMissing = (error: unknown): string[] => {
  if (isMissing(error)) return []
  throw error
}

// What distribution/reference takes (regexp.go), with a tag, and without IPv6 addresses, whose brackets mean more to a shell.
const component = '[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*'
const label = '[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?'
const reference = new RegExp(`^(?:${label}(?:\\.${label})*(?::\\d+)?/)?${component}(?:/${component})*:\\w[\\w.-]{0,127}$`)

/** The names of the images in an archive, or what is wrong with it. */
const readArchive = async (file: string): Promise<{ images: string[]; faults: Fault[] }> => {
  const saved = (await savedImages(file)).filter(({ tags }) => tags.length > 0)
  if (saved.length === 0) {
    return { images: [], faults: [{
      file, what: 'archive', expected: 'images with their names, as `docker save IMAGE:TAG` writes them',
      remedy: 'Save it again, by name and not by id, or take the file out of the folder.'
    }] }
  }
  const faults = await Promise.all(saved.map(async ({ tags, config }): Promise<Fault[]> => {
    const odd = tags.filter((tag) => !reference.test(tag))
    const platform = await platformOf(file, config)
    return [
      ...odd.map((value) => ({
        file, what: 'image name', value, expected: 'NAME:TAG, as image references are', remedy: 'Take the file out of the folder, and ask who made it.'
      })),
      ...(platform === 'linux/amd64' ? [] : [{
        file, what: `platform of ${quoted(tags[0]!)}`, value: platform, expected: 'linux/amd64, as the nodes are',
        remedy: 'Pull it with --platform linux/amd64, and save it again.'
      }])
    ]
  }))
  return { images: saved.flatMap(({ tags }) => tags).map(fullName), faults: faults.flat() }
}

type Saved = { tags: string[]; config: string }

const savedImages = async (file: string): Promise<Saved[]> => {
  const manifest = await jsonIn(file, 'manifest.json')
  return (Array.isArray(manifest) ? manifest : []).map((entry: { RepoTags?: unknown; Config?: unknown } | null) => ({
    tags: Array.isArray(entry?.RepoTags) ? entry.RepoTags.map(String) : [],
    config: String(entry?.Config ?? '')
  }))
}

const platformOf = async (file: string, config: string): Promise<string> => {
  const { os, architecture } = ((await jsonIn(file, config)) ?? {}) as { os?: unknown; architecture?: unknown }
  return os && architecture ? `${String(os)}/${String(architecture)}` : 'unknown'
}

// The name comes out of the archive: it must not be taken for an option of tar.
const jsonIn = async (file: string, name: string): Promise<unknown> => {
  const { exitCode, stdout } = await local({ seconds: 300, nothrow: true })`tar --extract --to-stdout --file ${file} -- ${name}`
  try {
    return exitCode === 0 ? JSON.parse(stdout) : undefined
  } catch {
    return undefined
  }
}

// The names that containerd uses: Docker leaves out its own registry.
const fullName = (image: string): string => {
  const [first = '', ...rest] = image.split('/')
  if (rest.length === 0) return `docker.io/library/${image}`
  return /[.:]/.test(first) || first === 'localhost' ? image : `docker.io/${image}`
}

const folder = '/var/lib/rancher/k3s/agent/images'

// Seconds. 1.6 GB in 139,000 files took 200 on five nodes that shared one busy disk.
const unpacking = 900

// Of images with this label the kubelet removes none when the disk fills. K3s gives it to what it imports itself, and some
// releases lose it at a restart (k3s-io/k3s#14265).
const pinned = 'io.cri-containerd.pinned'

/** The step that a host has an archive's images, for a start without internet, and keeps them when its disk fills. */
export const hasArchive = (host: Host, ssh: Ssh, { name, file, sha256, images }: Omit<Archive, 'onlyWorkers'>): NodeStep => {
  const importing = `k3s ctr -n k8s.io images import ${folder}/${name}
for image in ${images.join(' ')}; do k3s ctr -n k8s.io images label "$image" ${pinned}=pinned >/dev/null; done`
  return {
    name: `has the images of ${name}`,
    check: `if [[ ! -f ${folder}/${name} ]]; then echo 'is missing'; exit; fi
sum=$(openssl dgst -sha256 -r ${folder}/${name}); [[ \${sum%% *} == '${sha256}' ]] || echo 'is another one'
has=$(k3s ctr -n k8s.io images ls -q)
kept=$(k3s ctr -n k8s.io images ls -q 'labels."${pinned}"==pinned')
for image in ${images.join(' ')}; do
  if ! grep -qxF "$image" <<<"$has"; then echo "$image is not imported"
  elif ! grep -qxF "$image" <<<"$kept"; then echo "$image would be removed when the disk fills"; fi
done`,
    change: async () => {
      await ssh.push(host, file, { path: `${folder}/${name}`, mode: '0644', sha256 })
      await ssh.capture(host, importing, { timeout: unpacking })
    },
    byHand: `${copyByHand(host, file, { path: `${folder}/${name}`, mode: '0644' })}
ssh ${login(host)} ${sudo(host)}bash -s <<'END'
${importing}
END`,
    timeout: unpacking
  }
}
