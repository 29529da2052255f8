// How a panel looks. Plain objects, because Grafana's own builder for TypeScript (grafana-foundation-sdk 0.0.21) made this longer:
// five imports and a builder for each nested object, and no ids, headings or links of panels to alerts.
import { limitOf, measuredBy, type Alert, type Limit } from './alerts.mts'
import type { Column, Panel, Word } from './panel.mts'

export const datasource = { type: 'prometheus', uid: 'prometheus' }

const types = { number: 'stat', lines: 'timeseries', bars: 'bargauge', states: 'state-timeline', table: 'table' }

/** The JSON of a panel, without its id and place. Throws where it names an alert that is not there or cannot be drawn. */
export const drawn = (panel: Panel, alerts: Map<string, Alert>): Record<string, unknown> => {
  const found = (name: string): Alert => {
    const alert = alerts.get(name)
    if (!alert) throw new Error(`the panel '${panel.title}' names the alert ${name}, which is in no rule file`)
    return alert
  }
  const own = (panel.alerts ?? []).map(found)
  const mentioned = [...own, ...(panel.related ?? []).map(found)]
  const limits = [...own.map(limitOf), ...(panel.limits ?? [])]
  const runbooks = mentioned.map(({ name, severity, runbook }) => `\n\nAlert **${name}** (${severity}): ${runbook}`)
  const instant = ['number', 'bars', 'table'].includes(panel.kind)
  return {
    type: types[panel.kind],
    title: panel.title,
    description: panel.says + runbooks.join(''),
    datasource,
    targets: panel.queries.map((query, at) => ({
      refId: 'ABCDEFGHIJKLM'[at],
      datasource,
      expr: 'expr' in query ? query.expr : measuredBy(found(query.measuredBy)),
      ...(query.legend === undefined ? {} : { legendFormat: query.legend }),
      ...(instant ? { instant: true, range: false } : { range: true }),
      ...(panel.kind === 'table' ? { format: 'table' } : {})
    })),
    fieldConfig: {
      defaults: {
        unit: panel.unit,
        ...(panel.decimals === undefined ? {} : { decimals: panel.decimals }),
        ...(panel.kind === 'table' ? {} : { min: 0 }),
        ...(panel.max === undefined ? {} : { max: panel.max }),
        color: { mode: panel.kind === 'lines' ? 'palette-classic' : 'thresholds' },
        thresholds: { mode: 'absolute', steps: steps(limits) },
        mappings: panel.words ? [mapping(panel.words)] : [],
        ...(panel.nothing ? { noValue: panel.nothing } : {}),
        ...(panel.to ? { links: [target(panel.to)] } : {}),
        custom: custom(panel, limits)
      },
      overrides: panel.columns ? Object.entries(panel.columns).map(override) : []
    },
    options: options(panel),
    ...(panel.columns ? { transformations: columns(panel) } : {})
  }
}

const target = (url: string): Record<string, unknown> => ({ title: 'Details', url, targetBlank: false })

/** The colours of a panel: green up to the first limit, or below the last one. */
const steps = (limits: Limit[]): { color: string; value: number | null }[] => {
  const worst = (limit: Limit): boolean => limit.colour === 'red' || !limits.some(({ at, colour }) => at === limit.at && colour === 'red')
  const sorted = [...new Map(limits.filter(worst).map((limit) => [limit.at, limit])).values()].toSorted((one, other) => one.at - other.at)
  const below = sorted.filter(({ fires }) => fires === 'below')
  if (below.length > 0 && below.length < sorted.length) throw new Error('limits above and below on one panel')
  if (below.length === 0) return [{ color: 'green', value: null }, ...sorted.map(({ colour, at }) => ({ color: colour, value: at }))]
  return [
    ...below.map(({ colour }, index) => ({ color: colour, value: below[index - 1]?.at ?? null })),
    { color: 'green', value: below.at(-1)!.at }
  ]
}

const mapping = (words: Word[]): Record<string, unknown> => ({
  type: 'value',
  options: Object.fromEntries(words.map(([value, text, color], index) => [value, { text, color, index }]))
})

const custom = ({ kind, stacked }: Panel, limits: Limit[]): Record<string, unknown> => {
  if (kind === 'lines') {
    return {
      lineWidth: 1,
      fillOpacity: stacked ? 40 : 8,
      showPoints: 'never',
      spanNulls: false,
      thresholdsStyle: { mode: limits.length > 0 ? 'line' : 'off' },
      stacking: { mode: stacked ? 'normal' : 'none', group: 'A' }
    }
  }
  if (kind === 'states') return { lineWidth: 0, fillOpacity: 80, spanNulls: false }
  if (kind === 'table') return { align: 'left', inspect: false }
  return {}
}

const options = ({ kind }: Panel): Record<string, unknown> => {
  const reduceOptions = { calcs: ['lastNotNull'], fields: '', values: false }
  const tooltip = { mode: 'multi', sort: 'desc' }
  switch (kind) {
    case 'number':
      return {
        reduceOptions,
        colorMode: 'background',
        graphMode: 'none',
        textMode: 'auto',
        justifyMode: 'center',
        orientation: 'auto',
        wideLayout: true,
        showPercentChange: false,
        percentChangeColorMode: 'standard'
      }
    case 'bars':
      return {
        reduceOptions,
        displayMode: 'basic',
        valueMode: 'color',
        namePlacement: 'left',
        showUnfilled: true,
        sizing: 'auto',
        minVizWidth: 8,
        minVizHeight: 16,
        maxVizHeight: 32,
        orientation: 'horizontal',
        legend: { showLegend: false, displayMode: 'list', placement: 'bottom', calcs: [] }
      }
    case 'states':
      return {
        showValue: 'never',
        rowHeight: 0.85,
        mergeValues: true,
        alignValue: 'left',
        legend: { showLegend: true, displayMode: 'list', placement: 'bottom', calcs: [] },
        tooltip: { mode: 'single', sort: 'none' }
      }
    case 'table':
      return { frameIndex: 0, showHeader: true, cellHeight: 'sm' }
    case 'lines':
      return {
        legend: { showLegend: true, displayMode: 'table', placement: 'bottom', calcs: ['lastNotNull', 'max'] },
        tooltip
      }
  }
}

// Queries of a table become one row for each set of the same labels.
const columns = ({ columns: wanted = {}, queries }: Panel): Record<string, unknown>[] => [
  ...(queries.length > 1 ? [{ id: 'merge', options: {} }] : []),
  {
    id: 'filterFieldsByName',
    options: { include: { names: Object.keys(wanted) } }
  },
  {
    id: 'organize',
    options: {
      indexByName: Object.fromEntries(Object.keys(wanted).map((name, at) => [name, at])),
      renameByName: Object.fromEntries(Object.entries(wanted).map(([from, { name }]) => [from, name]))
    }
  }
]

const override = ([, { name, unit, to, words, width, decimals }]: [string, Column]): Record<string, unknown> => ({
  matcher: { id: 'byName', options: name },
  properties: [
    ...(unit ? [{ id: 'unit', value: unit }] : []),
    ...(decimals === undefined ? [] : [{ id: 'decimals', value: decimals }]),
    ...(width ? [{ id: 'custom.width', value: width }] : []),
    ...(to ? [{ id: 'links', value: [target(to)] }] : []),
    ...(words ? [{ id: 'mappings', value: [mapping(words)] }, { id: 'custom.cellOptions', value: { type: 'color-text' } }] : [])
  ]
})
