import { ignoreMissing } from './boot.mts'
import { engine as reachEngine } from './engine.mts'
import { locked } from './lock.mts'
import { labelFilter } from './place.mts'
import type { Progress } from './progress.mts'

/** Removes every container, volume and network that carries the lab's label, and nothing else. The cache stays. */
export const down = (progress: Progress): Promise<void> =>
  locked((pid) => progress.note(`Waiting for process ${pid}, which is changing the lab`), async () => {
    const { dockerode: docker } = (await reachEngine(progress)).container
    const filters = { label: labelFilter }
    await progress.task('lab down', async (say) => {
      const containers = await docker.listContainers({ all: true, filters })
      say(`${containers.length} containers`)
      await Promise.all(
        containers.map(({ Id }) => docker.getContainer(Id).remove({ force: true, v: true }).catch(ignoreMissing))
      )
      const { Volumes: volumes } = await docker.listVolumes({ filters })
      const networks = await docker.listNetworks({ filters })
      say(`${volumes.length} volumes, ${networks.length} networks`)
      await Promise.all(volumes.map(({ Name }) => docker.getVolume(Name).remove().catch(ignoreMissing)))
      await Promise.all(networks.map(({ Id }) => docker.getNetwork(Id).remove().catch(ignoreMissing)))
      progress.note(`Removed ${containers.length} containers, ${volumes.length} volumes, ${networks.length} networks`)
    })
  })
