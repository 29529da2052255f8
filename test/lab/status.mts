import { renderColumns } from '../../lib/base/table.mts'
import { machines } from './containers.mts'
import { engine as reachEngine } from './engine.mts'
import { labelFilter } from './place.mts'
import type { Progress } from './progress.mts'
import { containerName } from './recipe.mts'

const heading = ['MACHINE', 'PRIVATE', 'PUBLIC', 'STATE']

/** A table of the lab's machines and whether all run. */
export const status = async (progress: Progress): Promise<{ text: string; running: boolean }> => {
  const { dockerode: docker } = (await reachEngine(progress)).container
  const containers = await docker.listContainers({ all: true, filters: { label: labelFilter } })
  const states = new Map(containers.map(({ Names, Status }) => [Names[0]?.slice(1) ?? '', Status]))
  const running = machines.every((machine) => states.get(containerName(machine))?.startsWith('Up'))
  const rows = machines.map((machine) => [
    machine.name,
    machine.private,
    machine.public ?? '-',
    states.get(containerName(machine)) ?? 'not there'
  ])
  return { text: renderColumns([heading, ...rows]).join('\n'), running }
}
