import { duration } from '../lib/report.mts'
import type { Results } from './results.mts'

/** A measurement beside what it should be; `met` is left out where there is no goal. */
export type Row = { what: string; measured: string; goal: string; met?: boolean }

const traffic = ({ connections, commands }: { connections: number; commands: number }): string =>
  `${connections} connections, ${commands} commands`

/** The rows of the table, in the order of the goals. */
export const rows = ({ lab, hosts }: Pick<Results, 'lab' | 'hosts'>): Row[] => {
  const list: Row[] = []
  if (lab) {
    const { fresh, converged, plan } = lab
    const each = (scripts: Record<string, number>): string =>
      Object.entries(scripts).map(([id, seconds]) => `${id.split('_').at(-1)} ${duration(seconds)}`).join(', ')
    list.push(
      { what: 'fresh apply of 01-03, 8 bare nodes', measured: duration(fresh.seconds), goal: 'under 2 min', met: fresh.seconds < 120 },
      { what: '... each script', measured: each(fresh.scripts), goal: '' },
      { what: '... over ssh', measured: traffic(fresh), goal: '' },
      { what: 'apply of 01-03 again, nothing to do', measured: duration(converged.seconds), goal: 'under 10 s', met: converged.seconds < 10 },
      { what: '... each script', measured: each(converged.scripts), goal: '' },
      { what: '... over ssh', measured: traffic(converged), goal: '' },
      { what: 'plan of 01-03, nothing to do', measured: duration(plan.seconds), goal: '' },
      { what: '... over ssh', measured: traffic(plan), goal: '' }
    )
  }
  const [few, many] = hosts ?? []
  if (few && many) {
    const ratio = many.seconds / few.seconds
    list.push(
      ...[few, many].flatMap((one): Row[] => [
        { what: `plan of 01, ${one.hosts} hosts`, measured: duration(one.seconds), goal: '' },
        { what: '... over ssh', measured: traffic(one), goal: '' },
        { what: '... CPU of the bastion, of all', measured: `${duration(one.bastionCpu)}, ${duration(one.allCpu)}`, goal: '' }
      ]),
      { what: `plan of ${many.hosts} hosts to plan of ${few.hosts}`, measured: `${ratio.toFixed(1)} times`, goal: 'at most 2 times', met: ratio <= 2 }
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
