import { renderColumns } from '../lib/base/table.mts'

/** A measurement beside what it should be; `met` is left out where there is no goal. */
export type Row = { what: string; measured: string; goal: string; met?: boolean }

const verdict = ({ met }: Row): string => (met === undefined ? '' : met ? 'met' : 'not met')

const cells = (row: Row): string[] => [row.what, row.measured, row.goal, verdict(row)]

const heading = ['What', 'Measured', 'Goal', '']

/** The table for a terminal. */
export const plainTable = (list: Row[]): string => renderColumns([heading, ...list.map(cells)]).join('\n')

/** The same in Markdown. */
export const markdownTable = (list: Row[]): string =>
  [heading, heading.map(() => '---'), ...list.map(cells)].map((row) => `| ${row.join(' | ')} |`).join('\n')
