import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { type Artifact, sha256Of } from '../reach/release.mts'
import { local } from '../base/environment.mts'
import { isMissing, UsageError } from '../base/errors.mts'
import type { Host } from '../input/inventory.mts'
import { login, type Ssh } from '../reach/ssh.mts'
import type { NodeStep } from '../run/step.mts'
import { copyByHand, sudo } from './k3s.mts'

/** An archive of images on the bastion, as `docker save` writes it, and the images in it by their full names. */
export type Archive = Artifact & { name: string; images: string[] }

/** The archives in a folder's subfolder `images`. None if it is missing. */
export const imageArchives = async (folder: string): Promise<Archive[]> => {
  const images = join(folder, 'images')
  const names = (await readdir(images).catch(noneIfMissing)).filter((name) => name.endsWith('.tar')).toSorted()
  const odd = names.filter((name) => !/^[\w.+@-]+$/.test(name))
  if (odd.length > 0) {
    throw new UsageError(odd.map((name) => ({
      file: images, what: 'file name', value: name, expected: 'letters, digits and . _ + @ - only', remedy: 'Rename the file.'
    })))
  }
  return Promise.all(names.map(async (name) => {
    const file = join(images, name)
    return { name, file, sha256: await sha256Of(file), images: await imagesOf(file) }
  }))
}

const noneIfMissing = (error: unknown): string[] => {
  if (isMissing(error)) return []
  throw error
}

const imagesOf = async (file: string): Promise<string[]> => {
  const { exitCode, stdout } = await local({ seconds: 300, nothrow: true })`tar -xOf ${file} manifest.json`
  const images = exitCode === 0 ? (JSON.parse(stdout) as { RepoTags: string[] | null }[]).flatMap(({ RepoTags }) => RepoTags ?? []) : []
  if (images.length > 0) return images.map(fullName)
  throw new UsageError([{
    file, what: 'archive', expected: 'images with their names, as `docker save IMAGE:TAG` writes them',
    remedy: 'Save it again, by name and not by id, or take the file out of the folder.'
  }])
}

// The names that containerd uses: Docker leaves out its own registry.
const fullName = (image: string): string => {
  const [first = '', ...rest] = image.split('/')
  if (rest.length === 0) return `docker.io/library/${image}`
  return /[.:]/.test(first) || first === 'localhost' ? image : `docker.io/${image}`
}

const folder = '/var/lib/rancher/k3s/agent/images'

/** The step that a host has an archive's images, for a start without internet. */
export const hasArchive = (host: Host, ssh: Ssh, { name, file, sha256, images }: Archive): NodeStep => ({
  name: `has the images of ${name}`,
  check: `if [[ ! -f ${folder}/${name} ]]; then echo 'is missing'; exit; fi
sum=$(openssl dgst -sha256 -r ${folder}/${name}); [[ \${sum%% *} == '${sha256}' ]] || echo 'is another one'
has=$(k3s ctr -n k8s.io images ls -q)
for image in ${images.join(' ')}; do grep -qxF "$image" <<<"$has" || echo "$image is not imported"; done`,
  change: async () => {
    await ssh.push(host, file, { path: `${folder}/${name}`, mode: '0644', sha256 })
    await ssh.capture(host, `k3s ctr -n k8s.io images import ${folder}/${name}`, { timeout: 300 })
  },
  byHand: `${copyByHand(host, file, { path: `${folder}/${name}`, mode: '0644' })}
ssh ${login(host)} ${sudo(host)}k3s ctr -n k8s.io images import ${folder}/${name}`,
  timeout: 300
})
