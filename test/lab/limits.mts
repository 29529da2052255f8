import { readFile, writeFile } from 'node:fs/promises'
import type { Engine } from './engine.mts'
import { label } from './place.mts'
import type { Progress } from './progress.mts'

/** Kernel limits that the nodes share with this machine, or that a container may not set, and what eight nodes need. */
const needed = {
  // Each kubelet and containerd takes some; with the usual 128 the eighth node's fails: "too many open files".
  'fs.inotify.max_user_instances': 1024,
  // 09_k3s_01 wants it of every node, and in a container's network namespace it is read-only.
  'net.netfilter.nf_conntrack_max': 1_048_576
}

const file = (key: string): string => `/proc/sys/${key.replaceAll('.', '/')}`

/** A container in this machine's own network namespace may set what its user may not. */
const setFromContainer = async (engine: Engine, image: string, pair: string): Promise<void> => {
  const docker = engine.container.dockerode
  const container = await docker.createContainer({
    Image: image,
    Entrypoint: ['sysctl', '--quiet', '--write', pair],
    Labels: label,
    HostConfig: { NetworkMode: 'host', CapAdd: ['SYS_ADMIN', 'NET_ADMIN'], ReadonlyPaths: [], MaskedPaths: [] }
  })
  try {
    await container.start()
    const { StatusCode: code } = (await container.wait()) as { StatusCode: number }
    if (code !== 0) throw new Error(`sysctl ended with ${code}`)
  } finally {
    await container.remove({ force: true })
  }
}

/** Raises this machine's limits where they are lower than needed, never lowers them, and says so. */
export const raiseLimits = async (engine: Engine, image: string, progress: Progress): Promise<void> => {
  for (const [key, value] of Object.entries(needed)) {
    const now = Number(await readFile(file(key), 'utf8').catch(() => NaN))
    if (!(now < value)) continue
    const set = await writeFile(file(key), String(value))
      .catch(() => setFromContainer(engine, image, `${key}=${value}`))
      .then(() => true, () => false)
    progress.note(
      set
        ? `Set ${key} of this machine to ${value} (it was ${now})`
        : `${key} of this machine is ${now} and should be ${value}: sudo sysctl -w ${key}=${value}`
    )
  }
}
