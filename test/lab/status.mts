import { machines } from './containers.mts'
import { engine as reachEngine } from './engine.mts'
import { labelFilter } from './place.mts'
import type { Progress } from './progress.mts'
import { containerName } from './recipe.mts'

const columns = ['MACHINE', 'PRIVATE', 'PUBLIC', 'STATE'] as const

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
  const table = [[...columns], ...rows]
  const widths = columns.map((_, column) => Math.max(...table.map((row) => row[column]?.length ?? 0)))
  const lines = table.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ').trimEnd())
  return { text: lines.join('\n'), running }
}
