import { plural } from '../base/words.mts'
import type { Run } from '../run/run.mts'
import type { ClusterStep } from '../run/step.mts'
import { askByHand, askPod, queryPod, readyPods } from './ask.mts'

type Means = Pick<Run, 'kubectl' | 'sick'>

type Target = { labels: Record<string, string>; scrapeUrl: string; health: 'up' | 'down' | 'unknown'; lastError: string }

/** Lines as they are, each once, though two pods say the same. */
const once = (lines: string[]): string => [...new Set(lines)].join('\n')

const none = (service: string): string => `no pod of ${service} is ready`

const subjectOf = ({ job, node, instance, pod }: Record<string, string>): string => [job, node ?? instance ?? pod].filter(Boolean).join(' ')

const gauges = '{__name__=~"pg_up|redis_up|mysql_up|probe_success"}'

/**
 * Gauges of the exporters that are 0 where they do not get in, or where nothing answers. Of a PostgreSQL server its exporter tells.
 * Only of the last scrapes: a Prometheus that was replaced shows what it asks no more for another five minutes.
 */
const reached = `${gauges} == 0 unless {job="servers", backend="postgres"} and timestamp(${gauges}) > time() - 45`

const notReached = ({ __name__: gauge, job, instance, backend, app, balancer }: Record<string, string>): string => {
  if (job === 'servers') return `${backend} ${instance}: takes no connection from blackbox`
  const what = [job, backend ?? app ?? instance, balancer && `through ${balancer}`].filter(Boolean).join(' ')
  const logsIn = gauge !== 'probe_success' || backend === 'mariadb'
  return logsIn ? `${what}: its exporter does not get in. Is the password right, and may its user look?` : `${what}: does not answer as it should`
}

/** The step that every target of every Prometheus is reached, and what stands behind the exporters too. */
export const scrapesEverything = ({ kubectl, sick }: Means): ClusterStep => ({
  name: 'measures everything that is there',
  check: async () => {
    const pods = await readyPods({ kubectl, sick }, 'prometheus')
    const found = await Promise.all(pods.map(async (pod) => {
      const { data } = JSON.parse(await askPod(kubectl, 'prometheus', pod, '/api/v1/targets?state=active')) as { data: { activeTargets: Target[] } }
      const targets = data.activeTargets.filter(({ labels }) => !sick().includes(labels['node'] ?? ''))
      const down = targets.filter(({ health }) => health !== 'up')
        .map(({ labels, lastError }) => `${subjectOf(labels)}: ${lastError || 'was not asked yet'}`)
      const dark = (await queryPod(kubectl, pod, reached)).map(({ metric }) => notReached(metric))
      return { targets: targets.length, jobs: new Set(targets.map(({ labels }) => labels['job'])).size, lines: [...down, ...dark] }
    }))
    const [first] = found
    if (first === undefined) return none('Prometheus')
    return once([`= ${plural(first.targets, 'target')} of ${plural(first.jobs, 'job')}, seen by ${plural(found.length, 'replica')}`, ...found.flatMap(({ lines }) => lines)])
  },
  look: askByHand('prometheus', '/api/v1/targets?state=active', '.data.activeTargets[] | select(.health != "up") | "\\(.labels.job) \\(.scrapeUrl) \\(.lastError)"'),
  within: 120,
  hint: 'docs/monitoring.md says which ports the monitoring needs, and how to give another password'
})

type Group = { rules: { name: string; health: string; lastError?: string }[] }

/** The step that every Prometheus has these alerts loaded, and can compute each. */
export const hasRules = ({ kubectl, sick }: Means, alerts: string[]): ClusterStep => ({
  name: 'knows every alert',
  check: async () => {
    const pods = await readyPods({ kubectl, sick }, 'prometheus')
    const found = await Promise.all(pods.map(async (pod) => {
      const { data } = JSON.parse(await askPod(kubectl, 'prometheus', pod, '/api/v1/rules')) as { data: { groups: Group[] } }
      const rules = data.groups.flatMap((group) => group.rules)
      const names = new Set(rules.map(({ name }) => name))
      return [
        ...alerts.filter((name) => !names.has(name)).map((name) => `${pod} lacks ${name}`),
        ...rules.filter(({ health }) => health === 'err').map(({ name, lastError = '' }) => `${name} cannot be computed: ${lastError}`)
      ]
    }))
    return pods.length === 0 ? none('Prometheus') : once([`= ${plural(alerts.length, 'alert')}`, ...found.flat()])
  },
  look: askByHand('prometheus', '/api/v1/rules', '.data.groups[].rules[] | select(.health != "ok") | "\\(.name) \\(.lastError)"'),
  within: 120,
  hint: 'kubectl -n monitoring logs prometheus-0'
})

/** What Alertmanager could not send in the last minutes. */
const unsent = 'sum by (receiver_name, integration) (increase(alertmanager_notifications_failed_total[5m])) > 0'

type Status = { cluster: { status: string; peers: unknown[] } }

/** The step that an alert gets from Prometheus to every Alertmanager, that these know each other, and that messages go out. */
export const alertsArrive = ({ kubectl, sick }: Means, replicas: number): ClusterStep => ({
  name: 'sends its alerts',
  check: async () => {
    const pods = await readyPods({ kubectl, sick }, 'alertmanager')
    if (pods.length === 0) return none('Alertmanager')
    const found = await Promise.all(pods.map(async (pod) => {
      const ask = async <Answer,>(path: string): Promise<Answer> => JSON.parse(await askPod(kubectl, 'alertmanager', pod, path)) as Answer
      const { cluster: { status, peers } } = await ask<Status>('/api/v2/status')
      const watchdog = await ask<unknown[]>('/api/v2/alerts?filter=alertname%3D%22Watchdog%22')
      return [
        ...(status === 'ready' && (peers.length >= pods.length) ? [] : [`${pod} knows ${peers.length} of ${replicas} Alertmanagers, and is ${status}`]),
        ...(watchdog.length > 0 ? [] : [`${pod} does not hear Prometheus: the alert Watchdog, which is always there, is missing`])
      ]
    }))
    const [prometheus] = await readyPods({ kubectl, sick }, 'prometheus')
    const failed = prometheus === undefined ? [] : await queryPod(kubectl, prometheus, unsent)
    const lost = failed.map(({ metric: { receiver_name: receiver = '?', integration = '?' } }) => `messages to ${receiver} by ${integration} failed in the last five minutes`)
    return once([`= ${plural(pods.length, 'Alertmanager')}`, ...found.flat(), ...lost])
  },
  look: askByHand('alertmanager', '/api/v2/status', '.cluster.status'),
  within: 330, // what failed before a mend is forgotten after five minutes
  hint: './09_k3s_07_install_monitoring.mts --send-test says why a message does not get out'
})

/** The step that Grafana has these many dashboards, and perhaps more of its users' own. */
export const showsDashboards = ({ kubectl, sick }: Means, dashboards: number): ClusterStep => ({
  name: 'shows every dashboard',
  check: async () => {
    const [pod] = await readyPods({ kubectl, sick }, 'prometheus')
    if (pod === undefined) return none('Prometheus')
    const counts = (await queryPod(kubectl, pod, 'max(grafana_stat_totals_dashboard)')).map(({ value }) => Number(value[1]))
    const [count = 0] = counts
    return count >= dashboards ? `= ${plural(count, 'dashboard')}` : `Grafana has ${count} of ${plural(dashboards, 'dashboard')}`
  },
  look: 'kubectl -n monitoring logs deployment/grafana | grep -i provisioning     # no error',
  within: 120,
  hint: 'kubectl -n monitoring logs deployment/grafana'
})
