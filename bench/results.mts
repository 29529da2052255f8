import { readFile, writeFile } from 'node:fs/promises'
import { cpus, loadavg, release, totalmem } from 'node:os'
import { join } from 'node:path'
import type { FailoverResults } from './failover.mts'
import type { LabResults } from './lab-runs.mts'
import { rows } from './rows.mts'
import type { HostsResult } from './ssh-hosts.mts'
import { markdownTable } from './table.mts'

/** The machine that everything ran on, nodes and bastion alike. */
export type Computer = { cpus: number; model: string; memoryGiB: number; kernel: string; node: string; load: number }

/** The parts that were measured; one that is newer than a file of results is missing there. */
export type Results = {
  date: string
  computer: Computer
  lab?: LabResults
  hosts?: HostsResult[]
  failover?: FailoverResults
}

/** Describes this machine; the load is that of the last minute, so call it before the measurements. */
export const computer = (): Computer => ({
  cpus: cpus().length,
  model: cpus()[0]?.model ?? 'unknown',
  memoryGiB: Math.round(totalmem() / 2 ** 30),
  kernel: release(),
  node: process.version,
  load: loadavg()[0] ?? NaN
})

const page = join(import.meta.dirname, '../docs/performance.md')
const begin = '<!-- Written by npm run bench: begin -->'
const end = '<!-- Written by npm run bench: end -->'

/** The part of the page between its two marks. */
export const section = ({ date, computer: machine, ...results }: Results): string => `${begin}
Measured on ${date.slice(0, 10)} on ${machine.cpus} CPUs (${machine.model}), ${machine.memoryGiB} GiB of memory, kernel
${machine.kernel}, Node ${machine.node}${results.lab ? `, K3s ${results.lab.k3s}` : ''}. Load of the machine before: \
${machine.load.toFixed(1)}.

${markdownTable(rows(results))}
${end}`

/** Puts the section in place of the one that is there. */
export const intoPage = (text: string, results: Results): string => {
  const [from, to] = [text.indexOf(begin), text.indexOf(end)]
  if (from === -1 || to < from) throw new Error(`docs/performance.md has lost its marks ${begin} and ${end}`)
  return text.slice(0, from) + section(results) + text.slice(to + end.length)
}

const rounded = (_: string, value: unknown): unknown =>
  typeof value === 'number' ? Math.round(value * 1000) / 1000 : value

/** Writes bench/results.json and the table of docs/performance.md. */
export const save = async (results: Results): Promise<void> => {
  await writeFile(join(import.meta.dirname, 'results.json'), `${JSON.stringify(results, rounded, 2)}\n`)
  await writeFile(page, intoPage(await readFile(page, 'utf8'), results))
}
