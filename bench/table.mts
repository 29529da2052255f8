import { duration } from '../lib/report.mts'
import type { Results } from './results.mts'

/** A measurement beside what it should be; `met` is left out where there is no goal. */
export type Row = { what: string; measured: string; goal: string; met?: boolean }

const traffic = ({ connections, commands }: { connections: number; commands: number }): string =>
  `${connections} connections, ${commands} commands`

const fact = (what: string, measured: string): Row => ({ what, measured, goal: '' })

const goal = (what: string, measured: string, wanted: string, met: boolean): Row =>
  ({ what, measured, goal: wanted, met })

/** The rows of the table, in the order of the goals. */
export const rows = ({ lab, hosts }: Pick<Results, 'lab' | 'hosts'>): Row[] => {
  const list: Row[] = []
  if (lab) {
    const { fresh, converged, plan } = lab
    const each = (scripts: Record<string, number>): string =>
      Object.entries(scripts).map(([id, seconds]) => `${id.split('_').at(-1)} ${duration(seconds)}`).join(', ')
    list.push(
      goal('fresh apply of 01-03, 8 bare nodes', duration(fresh.seconds), 'under 2 min', fresh.seconds < 120),
      fact('... each script', each(fresh.scripts)),
      fact('... over ssh', traffic(fresh)),
      goal('apply of 01-03 again, nothing to do', duration(converged.seconds), 'under 10 s', converged.seconds < 10),
      fact('... each script', each(converged.scripts)),
      fact('... over ssh', traffic(converged)),
      fact('plan of 01-03, nothing to do', duration(plan.seconds)),
      fact('... over ssh', traffic(plan))
    )
  }
  const [few, many] = hosts ?? []
  if (few && many) {
    const ratio = many.seconds / few.seconds
    list.push(
      ...[few, many].flatMap((one): Row[] => [
        fact(`plan of 01, ${one.hosts} hosts`, duration(one.seconds)),
        fact('... over ssh', traffic(one)),
        fact('... CPU of the bastion, of all', `${duration(one.bastionCpu)}, ${duration(one.allCpu)}`)
      ]),
      goal(`plan of ${many.hosts} to ${few.hosts} hosts`, `${ratio.toFixed(1)} times`, 'at most 2 times', ratio <= 2)
    )
  }
  return list
}

const verdict = ({ met }: Row): string => (met === undefined ? '' : met ? 'met' : 'not met')

const cells = (row: Row): string[] => [row.what, row.measured, row.goal, verdict(row)]

const heading = ['What', 'Measured', 'Goal', '']

/** The table for a terminal. */
export const plainTable = (list: Row[]): string => {
  const all = [heading, ...list.map(cells)]
  const widths = heading.map((_, column) => Math.max(...all.map((row) => row[column]!.length)))
  return all.map((row) => row.map((cell, column) => cell.padEnd(widths[column]!)).join('  ').trimEnd()).join('\n')
}

/** The same in Markdown. */
export const markdownTable = (list: Row[]): string =>
  [heading, heading.map(() => '---'), ...list.map(cells)].map((row) => `| ${row.join(' | ')} |`).join('\n')
