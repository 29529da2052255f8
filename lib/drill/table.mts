import { renderColumns } from '../base/table.mts'
import { milliseconds } from '../base/words.mts'
import type { DrillRow } from './away.mts'
import type { Tally } from './outage.mts'

const seconds = (value: number | undefined): string => (value === undefined ? '–' : `${value.toFixed(1)} s`)
const share = ({ failed, requests }: Tally): string => `${failed} of ${requests}`
const slowestOf = ({ slowest }: Tally): string => `${milliseconds(slowest * 1000)} ms`

const columns: [heading: string, cell: (row: DrillRow) => string][] = [
  ['Event', ({ what }) => what],
  ['Target', ({ target }) => target],
  ['Away', ({ away }) => seconds(away)],
  ['New leader', ({ leader }) => seconds(leader)],
  ['API outage', ({ api }) => seconds(api.outage)],
  ['Failed', ({ api }) => share(api)],
  ['HTTP outage', ({ http }) => seconds(http.outage)],
  ['Failed', ({ http }) => share(http)],
  ['Pods moved', ({ rescheduled }) => seconds(rescheduled)],
  ['Well after', ({ restored }) => seconds(restored)]
]
const words = 2 // the first columns; the others are numbers
const headings = columns.map(([heading]) => heading)
const cellsOf = (row: DrillRow): string[] => columns.map(([, cell]) => cell(row))

const reasons = ({ why }: Tally): string =>
  Object.entries(why).toSorted(([, a], [, b]) => b - a).map(([words, count]) => `${count} ${words}`).join(', ')

/** The result of a drill for the terminal: a table, and for each event what was done and how requests failed. */
export const renderDrill = (rows: DrillRow[]): string[] => {
  const lines = [headings.map((text) => text.toUpperCase()), ...rows.map(cellsOf)]
  const align = headings.map((_, column) => (column < words ? 'left' : 'right'))
  return [...renderColumns(lines, align), '', ...rows.flatMap(details)]
}

const details = ({ what, how, api, http }: DrillRow): string[] => [
  `${what}: ${how}`,
  `  slowest answers: API ${slowestOf(api)}, HTTP ${slowestOf(http)}`,
  ...(api.failed > 0 ? [`  API failed: ${reasons(api)}`] : []),
  ...(http.failed > 0 ? [`  HTTP failed: ${reasons(http)}`] : [])
]

/** The same table in Markdown, with what was done as its last column. */
export const drillMarkdown = (rows: DrillRow[]): string => {
  const line = (cells: string[]): string => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
  return [
    line([...headings, 'How']),
    line([...headings.map((_, column) => (column < words ? '---' : '--:')), '---']),
    ...rows.map((row) => line([...cellsOf(row), row.how]))
  ].join('\n')
}
