import { renderColumns } from '../base/table.mts'
import { duration, milliseconds } from '../base/words.mts'
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

const reasons = ({ why }: Tally): string =>
  Object.entries(why).toSorted(([, a], [, b]) => b - a).map(([words, count]) => `${count} ${words}`).join(', ')

/** The result of a drill for the terminal: a table, and for each event what was done and how requests failed. */
export const renderDrill = (rows: DrillRow[]): string[] => {
  const lines = [columns.map(([heading]) => heading.toUpperCase()), ...rows.map((row) => columns.map(([, cell]) => cell(row)))]
  const align = columns.map((_, column) => (column < words ? 'left' : 'right'))
  return [...renderColumns(lines, align), '', ...rows.flatMap(details)]
}

const details = ({ what, how, api, http }: DrillRow): string[] => [
  `${what}: ${how}`,
  `  slowest answers: API ${slowestOf(api)}, HTTP ${slowestOf(http)}`,
  ...(api.failed > 0 ? [`  API failed: ${reasons(api)}`] : []),
  ...(http.failed > 0 ? [`  HTTP failed: ${reasons(http)}`] : [])
]

/** The result of a drill as a table for a page: what was taken away, then for how long who noticed. */
export const drillTable = (rows: DrillRow[]) => {
  const lasted = (value: number | undefined) => ({ text: value === undefined ? '–' : duration(value) })
  const away = (requests: Tally) => ({ ...lasted(requests.outage), small: `${share(requests)} failed` })
  return {
    heading: 'Failover drill',
    intro: 'Under live traffic one thing after the other was taken away, and given back.',
    columns: ['Taken away', 'API away', 'HTTP away', 'New leader after', 'Pods moved after', 'All well after'],
    rows: rows.map(({ what, target, how, api, http, leader, rescheduled, restored }) => [
      { text: what, name: target, small: how },
      away(api), away(http), lasted(leader), lasted(rescheduled), lasted(restored)
    ])
  }
}
