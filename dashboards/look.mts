// What all dashboards have in common: their links, variables and grid, and the alerts that fire, at their top.
import type { Alert } from './alerts.mts'
import { datasource, drawn } from './draw.mts'
import type { Page, Panel, Section } from './panel.mts'

const variables = {
  node: { label: 'Node', query: 'label_values(kube_node_info{job="kube-state-metrics"}, node)' },
  namespace: { label: 'Namespace', query: 'label_values(kube_namespace_created{job="kube-state-metrics"}, namespace)' }
}

/** The JSON of a page. Throws where a panel names an alert that is not there, or one whose number cannot be drawn. */
export const dashboard = (page: Page, alerts: Map<string, Alert>): Record<string, unknown> => ({
  uid: page.uid,
  title: page.title,
  description: page.says,
  tags: ['keybuzz'],
  schemaVersion: 42,
  editable: false,
  timezone: 'browser',
  graphTooltip: 1,
  refresh: '30s',
  time: { from: 'now-3h', to: 'now' },
  annotations: { list: [] },
  templating: { list: (page.variables ?? []).map(variable) },
  links: [
    ...(page.uid === 'cluster' ? [] : [{ ...link, title: 'Cluster', type: 'link', url: '/d/cluster', keepTime: true }]),
    { ...link, title: 'All dashboards', type: 'dashboards', tags: ['keybuzz'], asDropdown: true, keepTime: true }
  ],
  panels: placed([...(page.uid === 'cluster' ? [] : [firing(page, alerts)]), ...page.sections], alerts)
})

const link = { icon: 'external link', tooltip: '', tags: [], asDropdown: false, targetBlank: false, includeVars: false }

const variable = (name: 'node' | 'namespace'): Record<string, unknown> => ({
  type: 'query',
  name,
  label: variables[name].label,
  datasource,
  query: { query: variables[name].query, refId: name },
  definition: variables[name].query,
  refresh: 2, // whenever the time range changes
  sort: 1,
  multi: true,
  includeAll: true,
  allValue: '.*',
  current: { selected: true, text: ['All'], value: ['$__all'] }
})

// What fires, with since when: seconds since the fault began, not since the message.
export const firingTable = (title: string, selector: string, size: [number, number], nothing: string): Panel => ({
  kind: 'table',
  title,
  says: 'What is wrong, how bad, and since when. docs/alerts.md has every alert, and what to do.',
  unit: 'short',
  size,
  nothing,
  queries: [{
    expr: `sort_desc(time() - ALERTS_FOR_STATE{${selector}} and ignoring (alertstate) ALERTS{alertstate="firing", ${selector}})`
  }],
  columns: {
    severity: { name: 'How bad', width: 90, words: [['page', 'page', 'red'], ['ticket', 'ticket', 'orange']] },
    alertname: { name: 'What' },
    Value: { name: 'Since', unit: 'dtdhms', width: 140 },
    node: { name: 'Node', to: '/d/nodes?var-node=${__value.text}' },
    instance: { name: 'Host' },
    backend: { name: 'Backend' },
    app: { name: 'Application' },
    balancer: { name: 'Load balancer' },
    namespace: { name: 'Namespace', to: '/d/workloads?var-namespace=${__value.text}' },
    workload: { name: 'Workload' }
  }
})

const firing = ({ uid }: Page, alerts: Map<string, Alert>): Section => {
  const names = [...alerts.values()].filter(({ dashboard, severity }) => dashboard === uid && severity !== 'none').map(({ name }) => name)
  const table = firingTable('What fires here', `alertname=~"${names.join('|')}"`, [24, 4], `None of ${names.length} alerts fires`)
  return { title: 'Alerts', panels: names.length > 0 ? [table] : [] }
}

// Panels fill rows of 24 columns from the left; a section begins with a heading of its own.
const placed = (sections: Section[], alerts: Map<string, Alert>): Record<string, unknown>[] => {
  const all: Record<string, unknown>[] = []
  let [x, y, high] = [0, 0, 0]
  for (const { title, panels } of sections) {
    if (panels.length === 0) continue
    all.push({ id: all.length + 1, type: 'row', title, collapsed: false, panels: [], gridPos: { x: 0, y: y + high, w: 24, h: 1 } })
    ;[x, y, high] = [0, y + high + 1, 0]
    for (const panel of panels) {
      const [w, h] = panel.size
      if (x + w > 24) [x, y, high] = [0, y + high, 0]
      all.push({ id: all.length + 1, ...drawn(panel, alerts), gridPos: { x, y, w, h } })
      ;[x, high] = [x + w, Math.max(high, h)]
    }
  }
  return all
}
