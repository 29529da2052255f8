// What every dashboard has, as it is committed, and how the alerts and it point at each other.
import { globSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { limitOf, measuredBy, readAlerts, type Alert } from '../../../dashboards/alerts.mts'
import { pages } from '../../../dashboards/all.mts'
import { dashboard } from '../../../dashboards/look.mts'
import { files, folder } from '../../../dashboards/make.mts'
import type { Page } from '../../../dashboards/panel.mts'
import { queriesOf } from '../../../dashboards/queries.mts'

type Step = { color: string; value: number | null }
type Panel = {
  id: number
  type: string
  title: string
  description: string
  datasource: unknown
  gridPos: { x: number; y: number; w: number; h: number }
  targets: { refId: string; expr: string; datasource: unknown; legendFormat?: string }[]
  fieldConfig: { defaults: { unit: string; thresholds: { steps: Step[] }; noValue?: string } }
}
type Dashboard = {
  uid: string
  title: string
  description: string
  links: { type: string; url?: string }[]
  panels: Panel[]
  templating: { list: { name: string; query: { query: string } }[] }
}

const committed = new Map(globSync('*.json', { cwd: folder }).toSorted().map((name) => [name, readFileSync(join(folder, name), 'utf8')]))
const dashboards = [...committed].map(([name, text]) => ({ name, ...(JSON.parse(text) as Dashboard) }))
const alerts = readAlerts()
const uids = new Set(pages.map(({ uid }) => uid))

const drawn = ({ panels }: Dashboard): Panel[] => panels.filter(({ type }) => type !== 'row')
const faults = (find: (one: Dashboard) => string[]): string[] => dashboards.flatMap((one) => find(one).map((words) => `${one.uid}: ${words}`))

test('what is committed is what the generator makes', () => {
  const made = files()
  assert.equal([...committed.keys()], [...made.keys()].toSorted())
  const old = [...made].filter(([name, text]) => committed.get(name) !== text).map(([name]) => name)
  assert.equal(old, [], 'run node dashboards/make.mts')
})

test('each has the name of its file, a title and a sentence', () => {
  for (const { name, uid, title, description } of dashboards) {
    assert.is(uid, basename(name, '.json'))
    assert.ok(title.length > 2 && description.endsWith('.'), uid)
  }
  assert.is(new Set(dashboards.map(({ title }) => title)).size, dashboards.length)
})

test('each panel has a title, a description, a unit, thresholds and the one data source', () => {
  const source = JSON.stringify({ type: 'prometheus', uid: 'prometheus' })
  assert.equal(faults((one) => drawn(one).flatMap(({ title, description, datasource, targets, fieldConfig: { defaults } }) => [
    ...(title ? [] : ['no title']),
    ...(description.length > 10 ? [] : [`${title} has no description`]),
    ...(defaults.unit ? [] : [`${title} has no unit`]),
    ...(defaults.thresholds.steps[0]?.value === null ? [] : [`${title} has no thresholds`]),
    ...([datasource, ...targets.map((target) => target.datasource)].every((each) => JSON.stringify(each) === source) ? [] : [`${title} asks another source`])
  ])), [])
})

test('ids are there once, titles once, and no two panels cover each other', () => {
  assert.equal(faults((one) => {
    const ids = one.panels.map(({ id }) => id)
    const titles = drawn(one).map(({ title }) => title)
    const cells = one.panels.flatMap(({ gridPos: { x, y, w, h } }) =>
      Array.from({ length: w * h }, (_, at) => `${x + (at % w)},${y + Math.floor(at / w)}`))
    return [
      ...(new Set(ids).size === ids.length ? [] : ['an id twice']),
      ...(new Set(titles).size === titles.length ? [] : [`a title twice in ${titles.join(', ')}`]),
      ...(new Set(cells).size === cells.length ? [] : ['panels cover each other']),
      ...(one.panels.every(({ gridPos: { x, w } }) => x + w <= 24) ? [] : ['a panel is wider than the page'])
    ]
  }), [])
})

test('lines have a legend for each query, and thresholds rise', () => {
  assert.equal(faults((one) => drawn(one).flatMap(({ title, type, targets, fieldConfig }) => {
    const values = fieldConfig.defaults.thresholds.steps.slice(1).map(({ value }) => value ?? 0)
    return [
      ...(type === 'timeseries' && targets.some(({ legendFormat }) => !legendFormat) ? [`${title} has a line without a name`] : []),
      ...(values.every((value, at) => at === 0 || value > values[at - 1]!) ? [] : [`the thresholds of ${title} do not rise`])
    ]
  })), [])
})

test('a page with $node or $namespace has the variable, and uses it', () => {
  assert.equal(faults(({ panels, templating }) => {
    const used = new Set([...JSON.stringify(panels).matchAll(/=~\\"\$(\w+)\\"/g)].map(([, name = '']) => name))
    const has = templating.list.map(({ name }) => name)
    return used.symmetricDifference(new Set(has)).size === 0 ? [] : [`has ${has.join()}, uses ${[...used].join()}`]
  }), [])
})

test('links go to dashboards that are there; each page leads to all others', () => {
  const wrong = [...committed].flatMap(([name, text]) =>
    [...text.matchAll(/"url": "\/d\/([\w-]*)/g)].flatMap(([, uid = '']) => uids.has(uid) ? [] : [`${name}: /d/${uid}`]))
  assert.equal(wrong, [])
  assert.equal(faults(({ uid, links }) => [
    ...(links.some(({ type }) => type === 'dashboards') ? [] : ['no list of all']),
    ...(uid === 'cluster' || links.some(({ url }) => url === '/d/cluster') ? [] : ['no way back to the wall'])
  ]), [])
})

test('a query says which job it reads, so that the lab knows where an empty answer is a fault', () => {
  const ours = /\b(ALERTS|keybuzz_capacity_\w+|up|scrape_\w+)\b/
  const without = dashboards.flatMap((one) =>
    queriesOf(one).flatMap(({ panel, expr, jobs }) => jobs.length > 0 || ours.test(expr) ? [] : [`${one.uid}: ${panel}`]))
  assert.equal(without, [])
})

test('queries for tests have nothing of Grafana in them', () => {
  const left = dashboards.flatMap((one) => queriesOf(one).filter(({ expr }) => /\$(?!1\b)/.test(expr)).map(({ panel }) => `${one.uid}: ${panel}`))
  assert.equal(left, [])
  const nodes = dashboards.find(({ uid }) => uid === 'nodes')!
  const variable = queriesOf(nodes).at(-1)
  assert.equal(variable, { panel: 'variable node', expr: 'kube_node_info{job="kube-state-metrics"}', jobs: ['kube-state-metrics'], nothing: undefined })
})

test("an alert's dashboard is there, shows the alert, and names its runbook", () => {
  const wrong = [...alerts.values()].flatMap(({ name, dashboard: uid, runbook }) => {
    const page = dashboards.find((one) => one.uid === uid)
    if (!page) return [`${name} points at the dashboard '${uid}'`]
    const panels = drawn(page).filter(({ description }) => description.includes(`**${name}**`))
    return [
      ...(panels.length > 0 ? [] : [`${name}: no panel of ${uid} names it`]),
      ...(panels.every(({ description }) => description.includes(runbook)) && runbook ? [] : [`${name} has no runbook on its panel`])
    ]
  })
  assert.equal(wrong, [])
})

const alert = (expr: string, severity = 'page'): Alert => ({ name: 'A', severity, expr, dashboard: 'x', runbook: 'r' })

test('the number of an alert is read from its expression', () => {
  const cases: [string, ReturnType<typeof limitOf>][] = [
    ['histogram_quantile(0.99, rate(x_bucket{le!="5"}[5m])) > 0.1', { fires: 'above', at: 0.1, colour: 'red' }],
    ['x{verb!~"WATCH"} / y > 60 * 60', { fires: 'above', at: 3600, colour: 'red' }],
    ['free < 1e9', { fires: 'below', at: 1e9, colour: 'red' }],
    ['up{job="x"} == 0', { fires: 'below', at: 1, colour: 'red' }],
    ['alarm == 1', { fires: 'above', at: 1, colour: 'red' }]
  ]
  for (const [expr, limit] of cases) assert.equal(limitOf(alert(expr)), limit, expr)
  assert.is(limitOf(alert('x > 1', 'ticket')).colour, 'orange')
  assert.ok(limitOf(alert('failed > 0')).at > 0, 'none at all is well')
  for (const expr of ['absent(x)', 'x > 0.8 * quota', 'x{y!="> 1"}']) assert.throws(() => limitOf(alert(expr)), /with no number/)
  assert.is(limitOf(alert('min(used / (most > 0)) > 0.85 and on (node) other == 1')).at, 0.85)
  assert.is(limitOf(alert('label_replace(x > 0.25 and y > 0.2, "app", "$1", "n", "(.+)")')).at, 0.25)
})

test('what an alert measures is its expression up to the comparison', () => {
  assert.is(measuredBy(alert('max(x / (y > 0))\n> 1 and z == 2')), 'max(x / (y > 0))')
  assert.throws(() => measuredBy(alert('label_replace(x > 1, "a", "b", "c", "d")')), /inside of a function/)
})

test('limits colour a panel: page red, ticket orange, green where nothing fires', () => {
  const page = (names: string[]): Page => ({
    uid: 'x', title: 'x', says: 'x.',
    sections: [{ title: 'x', panels: [{ kind: 'lines', title: 'x', says: 'x', unit: 's', size: [8, 8], queries: [], alerts: names }] }]
  })
  const steps = (one: Record<string, string>): Step[] => {
    const all = new Map(Object.entries(one).map(([severity, expr]) => [severity, { ...alert(expr, severity), name: severity, dashboard: '' }]))
    return (dashboard(page([...all.keys()]), all) as Dashboard).panels[1]!.fieldConfig.defaults.thresholds.steps
  }
  assert.equal(steps({ ticket: 'x > 80', page: 'x > 90' }), [
    { color: 'green', value: null }, { color: 'orange', value: 80 }, { color: 'red', value: 90 }
  ])
  assert.equal(steps({ ticket: 'x < 20', page: 'x < 10' }), [
    { color: 'red', value: null }, { color: 'orange', value: 10 }, { color: 'green', value: 20 }
  ])
  assert.equal(steps({ ticket: 'x == 0', page: 'x == 0' }), [{ color: 'red', value: null }, { color: 'green', value: 1 }])
  assert.throws(() => steps({ ticket: 'x < 20', page: 'x > 90' }), /above and below/)
  assert.throws(() => dashboard(page(['Gone']), new Map()), /'x' names the alert Gone/)
})

test.run()
