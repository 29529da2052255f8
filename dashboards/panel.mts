import type { Limit } from './alerts.mts'

/** A query, or the alert whose expression is taken up to the comparison; and what the legend calls each series. */
export type Query = ({ expr: string } | { measuredBy: string }) & { legend?: string }

export type Panel = {
  kind: 'number' | 'lines' | 'bars' | 'states' | 'table'
  title: string
  /** What is seen, and what to make of it. Shown at the panel's (i). */
  says: string
  /** Grafana's name of a unit, such as s, bytes, percentunit, reqps, short. */
  unit: string
  queries: Query[]
  /** Width and height; a row of the grid has 24 columns. */
  size: [width: number, height: number]
  /** The alerts about what is seen here. Where they fire is drawn. */
  alerts?: string[]
  /** The same for alerts with no number that can be drawn in this panel's unit. */
  related?: string[]
  /** Where a click on a value goes, such as /d/nodes?var-node=${__field.labels.node}. */
  to?: string
  /** Words for values, with their colours. */
  words?: Word[]
  /** From how many on a count of faults is one, where no single alert says it. */
  limits?: Limit[]
  /** What it means when there is nothing to show. Only for panels that are empty as long as all is well. */
  nothing?: string
  /** Names and units of a table's columns, in their order: label or `Value #A` for the first query. Others are hidden. */
  columns?: Record<string, Column>
  /** The end of the axis. */
  max?: number
  /** Lines on top of each other, for what is of interest as a sum. */
  stacked?: boolean
  decimals?: number
}

export type Column = { name: string; unit?: string; to?: string; words?: Word[]; width?: number; decimals?: number }

export type Word = [value: number | string, text: string, colour: 'red' | 'orange' | 'green' | 'blue' | 'text']

export const AWAY_OR_THERE: Word[] = [[0, 'away', 'red'], [1, 'there', 'green']]
export const FAILS_OR_ANSWERS: Word[] = [[0, 'fails', 'red'], [1, 'answers', 'green']]
export const NO_OR_YES: Word[] = [[0, 'no', 'red'], [1, 'yes', 'green']]

/** A heading with its panels. */
export type Section = { title: string; panels: Panel[] }

export type Page = {
  uid: string
  title: string
  says: string
  variables?: ('node' | 'namespace')[]
  sections: Section[]
}
