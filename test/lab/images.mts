import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, rm, stat } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { $ } from 'zx'
import type { Machine } from './containers.mts'
import type { Docker, Engine } from './engine.mts'
import { cache } from './place.mts'
import type { Progress } from './progress.mts'

export type Images = Record<Machine['image'], string>

const folder = join(import.meta.dirname, 'images')

/** Debian 12: its systemd 252 is the last that boots on cgroup v1 as well as v2. */
const suite = 'bookworm'
const official = `debian:${suite}`

const filesBelow = async (path: string): Promise<string[]> => {
  const entries = await readdir(path, { recursive: true, withFileTypes: true })
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name)).sort()
}

/** Changes with what goes into an image: names, modes and contents below a folder, and what it stands on. */
const tag = async (path: string, ...also: string[]): Promise<string> => {
  const hash = createHash('sha256')
  for (const one of also) hash.update(`${one}\n`)
  for (const file of await filesBelow(path)) {
    const { mode } = await stat(file)
    hash.update(`${relative(path, file)} ${(mode & 0o100).toString(8)}\n`).update(await readFile(file))
  }
  return hash.digest('hex').slice(0, 12)
}

const exists = async (docker: Docker, image: string): Promise<boolean> =>
  docker.getImage(image).inspect().then(() => true, () => false)

/** Follows a stream of Docker's progress to its end; throws what it reports as an error. */
const follow = (docker: Docker, stream: NodeJS.ReadableStream, say: (text: string) => void): Promise<void> =>
  new Promise((resolve, reject) => {
    docker.modem.followProgress(
      stream,
      (error: Error | null, events: { error?: string }[]) => {
        const failed = error?.message ?? events.find((event) => event.error)?.error
        if (failed) reject(new Error(failed))
        else resolve()
      },
      (event: { status?: string; stream?: string }) => {
        const text = (event.status ?? event.stream ?? '').trim().split('\n')[0] ?? ''
        const brief = /^(Step \d+\/\d+ : \w+|Pulling from .*)/.exec(text)?.[0]
        if (brief) say(brief)
      }
    )
  })

/** Pulls an image where a registry answers; that none does is known at once or after 20 s. */
export const pulled = async (docker: Docker, image: string, say: (text: string) => void): Promise<boolean> => {
  say(`pulling ${image}`)
  try {
    const stream = await docker.pull(image, { abortSignal: AbortSignal.timeout(20_000) })
    await follow(docker, stream, say)
    return true
  } catch {
    return false
  }
}

/** What debootstrap takes, each package with the file that shows that it is there. */
const debootstrap = {
  debootstrap: '/usr/sbin/debootstrap',
  'debian-archive-keyring': '/usr/share/keyrings/debian-archive-keyring.gpg'
}

/** Installs the packages that are not there: as root, on Debian or Ubuntu. */
const installed = async (packages: Record<string, string>, say: (text: string) => void): Promise<void> => {
  const missing: string[] = []
  for (const [name, file] of Object.entries(packages)) {
    const there = await stat(file).catch(() => undefined)
    if (!there) missing.push(name)
  }
  if (process.getuid?.() !== 0)
    throw new Error(
      `No registry serves ${official}. To make the base image from Debian's packages instead, run the lab as root` +
        (missing.length > 0 ? `, with ${missing.join(' and ')} installed.` : '.')
    )
  if (missing.length === 0) return
  say(`installing ${missing.join(', ')}`)
  const apt = $({ env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }, quiet: true })
  await apt`apt-get update`
  await apt`apt-get install -y --no-install-recommends ${missing}`
}

/** Makes the base from Debian's packages. In a mount namespace of its own, so that a killed run leaves no mounts. */
const bootstrapped = async (docker: Docker, say: (text: string) => void): Promise<void> => {
  const root = join(cache, 'rootfs')
  await rm(root, { recursive: true, force: true })
  await mkdir(root, { recursive: true })
  say(`debootstrap ${suite}`)
  await $({ quiet: true })`unshare --mount debootstrap --variant=minbase --include=ca-certificates ${suite} ${root}`
  say('importing')
  const tar = $({ quiet: true })`tar --create --directory ${root} --exclude ./var/cache/apt/archives/*.deb .`
  await follow(docker, await docker.importImage(tar.stdout, base), say)
  await tar
  await rm(root, { recursive: true, force: true })
}

const base = { repo: 'keybuzz-lab/base', tag: `${suite}-1` }
const baseImage = `${base.repo}:${base.tag}`

/**
 * Finds out where the base image is to come from, and installs what making it takes. Apart from `images`, for two
 * installations at once, this and the K3s build's, would refuse each other.
 */
export const findBase = async ({ container: { dockerode: docker } }: Engine, progress: Progress): Promise<void> => {
  if (await exists(docker, baseImage)) return
  await progress.task('base image', async (say) => {
    if (await pulled(docker, official, say)) await docker.getImage(official).tag(base)
    else await installed(debootstrap, say)
  })
}

const ensureBase = async (docker: Docker, progress: Progress): Promise<void> => {
  if (!(await exists(docker, baseImage))) await progress.task('base image', (say) => bootstrapped(docker, say))
}

/** The build goes over the machine's own network, for that is where its package mirrors are reached from. */
const build = async (docker: Docker, context: string, image: string, say: (text: string) => void): Promise<void> => {
  const src = (await filesBelow(context)).map((file) => relative(context, file))
  const stream = await docker.buildImage({ context, src }, {
    t: image,
    buildargs: { BASE: baseImage },
    networkmode: 'host',
    rm: true,
    forcerm: true,
    labels: { 'io.keybuzz.lab.image': 'keybuzz' }
  })
  await follow(docker, stream, say)
}

/** Removes images of the same name with other tags; one that a container stands on refuses, and stays. */
const forgetOthers = async (docker: Docker, image: string): Promise<void> => {
  const [repo = ''] = image.split(':')
  const there = await docker.listImages({ filters: { reference: [repo] } })
  const others = there.flatMap(({ RepoTags: tags }) => tags ?? []).filter((other) => other !== image)
  await Promise.all(others.map((other) => docker.getImage(other).remove().catch(() => undefined)))
}

/** The lab's images, made where their inputs changed or they are not there. */
export const images = async (engine: Engine, progress: Progress): Promise<Images> => {
  const docker = engine.container.dockerode
  await ensureBase(docker, progress)
  const one = async (name: Machine['image']): Promise<string> => {
    const image = `keybuzz-lab/${name}:${await tag(join(folder, name), baseImage)}`
    if (await exists(docker, image)) return image
    await progress.task(`${name} image`, (say) => build(docker, join(folder, name), image, say))
    await forgetOthers(docker, image)
    return image
  }
  const [node, tools, backends] = await Promise.all([one('node'), one('tools'), one('backends')])
  return { node, tools, backends }
}
