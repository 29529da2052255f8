// The queries of a dashboard, for tests that run them.

export type DashboardQuery = {
  panel: string
  expr: string
  /** The scrape jobs that it reads. Where one of them has no target, it may return nothing. */
  jobs: string[]
  /** What the panel says when it is empty: then nothing is an answer. */
  nothing: string | undefined
}

type Dashboard = {
  panels: { title?: string; targets?: { expr: string }[]; fieldConfig?: { defaults: { noValue?: string } } }[]
  templating: { list: { name: string; query: { query: string } }[] }
}

/** What Grafana puts in for its variables: every node and namespace, and the window of rates of four scrapes and more. */
const fill = (expr: string): string =>
  expr.replaceAll('$__rate_interval', '2m').replaceAll('$node', '.*').replaceAll('$namespace', '.*')

/** The names of jobs in an expression, such as those of job="node" and job=~"apiserver|kubelet". */
const jobsOf = (expr: string): string[] =>
  [...new Set([...expr.matchAll(/\bjob=~?"([^"]+)"/g)].flatMap(([, names = '']) => names.split('|')))]

/** The queries of all panels and variables, as Grafana would send them with everything chosen. */
export const queriesOf = ({ panels, templating }: Dashboard): DashboardQuery[] => [
  ...panels.flatMap(({ title = '', targets = [], fieldConfig }) =>
    targets.map(({ expr }) => ({ panel: title, expr: fill(expr), jobs: jobsOf(expr), nothing: fieldConfig?.defaults.noValue }))),
  ...templating.list.map(({ name, query: { query } }) => {
    const expr = /^label_values\((.*), \w+\)$/.exec(query)?.[1] ?? query
    return { panel: `variable ${name}`, expr, jobs: jobsOf(expr), nothing: undefined }
  })
]
