import { parse } from 'yaml'
import { intervalOf } from '../base/cron.mts'
import { ingressSources, notOutside } from '../cluster/network.mts'
import { readManifest } from '../cluster/objects.mts'
import { inYaml, resourceValues } from '../cluster/values.mts'
import type { Machine } from '../input/inventory.mts'
import type { Settings } from '../input/settings.mts'
import { egressTo } from './egress.mts'
import { configMap, dashboardMap, filesIn } from './files.mts'
import { alertmanagerConfig } from './receivers.mts'
import { scrapeValues } from './scrape.mts'
import { type Target, type Targets, targetsOf } from './targets.mts'

/** Every component that there can be, in the order in which they are installed. */
export const componentNames = [
  'node-exporter', 'kube-state-metrics', 'blackbox', 'postgres-exporter', 'redis-exporter', 'mysqld-exporter', 'alertmanager',
  'prometheus', 'grafana'
] as const
export type ComponentName = (typeof componentNames)[number]

/** A file below manifests/07_monitoring with the values of its placeholders. */
type Filled = { file: string; values: Record<string, string | number> }

/** A part of a component: a file to fill, or a finished manifest. */
export type Part = Filled | { text: string }

/** One component: what stands before its pods, and its pods. */
export type Component = {
  /** The name of its folder, its workload, its Service and its label `app`. */
  name: ComponentName
  /** As it is called in the report. */
  title: string
  namespace: 'monitoring' | 'monitoring-nodes'
  kind: 'deployment' | 'statefulset' | 'daemonset'
  /** What its pods read only when they start: with another text they are replaced. */
  config: Part[]
  /** All else that it needs. */
  base: Part[]
  /** Its pod template has the placeholder ${CHECKSUM}. */
  workload: Filled
}

type Runs = { image: string; resources: { cpus: number; memory: number; most_memory: number } }

const runs = ({ image, resources }: Runs): Filled['values'] => ({ IMAGE: image, ...resourceValues(resources) })

/**
 * The components that these settings need, in the order in which they are installed: an exporter only where it has something to
 * ask. Throws a UsageError as `targetsOf` does.
 */
export const componentsOf = async (settings: Settings, machines: Machine[]): Promise<Component[]> => {
  const targets = targetsOf(machines, settings)
  return [
    nodeExporter(settings),
    kubeStateMetrics(settings),
    ...exporters(settings, targets),
    await alertmanager(settings),
    await prometheus(settings, targets),
    await grafana(settings)
  ]
}

const nodeExporter = ({ monitoring }: Settings): Component => ({
  name: 'node-exporter', title: 'node-exporter', namespace: 'monitoring-nodes', kind: 'daemonset', config: [], base: [],
  workload: { file: 'node-exporter/daemonset.yaml', values: runs(monitoring.node_exporter) }
})

const kubeStateMetrics = ({ monitoring, network }: Settings): Component => ({
  name: 'kube-state-metrics', title: 'kube-state-metrics', namespace: 'monitoring', kind: 'deployment', config: [],
  base: [{ file: 'kube-state-metrics/base.yaml', values: { PRIVATE_CIDR: network.private_cidr } }],
  workload: { file: 'kube-state-metrics/deployment.yaml', values: runs(monitoring.kube_state_metrics) }
})

const exporters = ({ monitoring }: Settings, targets: Targets): Component[] => {
  const exporter = (name: ComponentName, own: Runs, asked: Target[], config: Part[]): Component[] =>
    asked.length === 0 ? [] : [{
      name, title: name, namespace: 'monitoring', kind: 'deployment', config,
      base: [{ file: `${name}/base.yaml`, values: { TARGETS: egressTo(asked) } }],
      workload: { file: `${name}/deployment.yaml`, values: { ...runs(own), POOLS: inYaml(monitoring.pools) } }
    }]
  const { blackbox, postgres, redis, mariadb } = monitoring
  const probed = [...targets.servers, ...targets.backends, ...targets.balancers, ...targets.apps]
  const login = { file: 'mysqld-exporter/config.yaml', values: { USER: mariadb.user } }
  return [
    ...exporter('blackbox', blackbox, probed, [{ file: 'blackbox/config.yaml', values: {} }]),
    ...exporter('postgres-exporter', postgres.exporter, targets.postgres, []),
    ...exporter('redis-exporter', redis.exporter, targets.redis, []),
    ...exporter('mysqld-exporter', mariadb.exporter, [...targets.mysql, ...targets.login], [login])
  ]
}

const alertmanager = async (settings: Settings): Promise<Component> => {
  const { backends: { smtp }, monitoring, network } = settings
  const folder = '07_monitoring/alertmanager'
  const inhibitions = parse(await readManifest(`${folder}/inhibit.yaml`)) as unknown[]
  const links = { GRAFANA_HOST: monitoring.grafana.host, RUNBOOKS: monitoring.alerts.runbooks }
  const files = {
    'alertmanager.yml': alertmanagerConfig(settings, inhibitions),
    'messages.tmpl': await readManifest(`${folder}/messages.tmpl`, links)
  }
  const nameservers = network.nameservers.slice(0, 2) // a pod has three at most, and CoreDNS is the first
  return {
    name: 'alertmanager', title: 'Alertmanager', namespace: 'monitoring', kind: 'statefulset',
    config: [{ text: configMap('alertmanager', files) }],
    base: [{
      file: 'alertmanager/base.yaml',
      values: {
        INGRESS_SOURCES: ingressSources(settings), NOT_OUTSIDE: notOutside, PRIVATE_CIDR: network.private_cidr, SMTP_PORT: smtp.port,
        TO_NAMESERVERS: inYaml(nameservers.map((cidr) => ({ ipBlock: { cidr: `${cidr}/32` } })))
      }
    }],
    workload: { file: 'alertmanager/statefulset.yaml', values: { ...runs(monitoring.alertmanager), POOLS: inYaml(monitoring.pools), NAMESERVERS: inYaml(nameservers) } }
  }
}

/** The servers outside the cluster that Prometheus asks itself. The others it asks through an exporter. */
export const askedByPrometheus = ({ rabbitmq, minio, vault }: Targets): Target[] => [...rabbitmq, ...minio, ...vault]

// Seconds: the longest day, when clocks are set back.
const dayAndHour = 25 * 3600

const prometheus = async (settings: Settings, targets: Targets): Promise<Component> => {
  const { capacity: { pods, cpus, memory, lost_workers: lost }, environment, monitoring: { prometheus: own, pools }, network, snapshots: { schedule } } = settings
  const said = { PODS: pods, CPUS: cpus, MEMORY: memory, LOST_WORKERS: lost, SNAPSHOTS_DAILY: intervalOf(schedule) <= dayAndHour ? 1 : 0 }
  const ofSettings = await readManifest('07_monitoring/prometheus/settings.yaml', said)
  const servers = askedByPrometheus(targets)
  return {
    name: 'prometheus', title: 'Prometheus', namespace: 'monitoring', kind: 'statefulset',
    config: [
      { file: 'prometheus/config.yaml', values: { ENVIRONMENT: environment, ...(await scrapeValues(settings, targets)) } },
      { text: configMap('rules', { ...(await filesIn('rules', '.yaml')), 'settings.yaml': ofSettings }) }
    ],
    base: [
      { file: 'prometheus/base.yaml', values: { INGRESS_SOURCES: ingressSources(settings), PRIVATE_CIDR: network.private_cidr } },
      // Without a rule the API would store the policy in another form than it was given.
      ...(servers.length === 0 ? [] : [{ file: 'prometheus/servers.yaml', values: { SERVERS: egressTo(servers) } }])
    ],
    workload: {
      file: 'prometheus/statefulset.yaml',
      values: { ...runs(own), REPLICAS: own.replicas, DAYS: own.days, SIZE: own.size, POOLS: inYaml(pools) }
    }
  }
}

const grafana = async (settings: Settings): Promise<Component> => {
  const { backends: { postgres }, monitoring: { grafana: own } } = settings
  const { host, admin, database, user } = own
  const dashboards = Object.keys(await filesIn('dashboards', '.json')).map(dashboardMap)
  const variables = database === '' ? { GF_DATABASE_TYPE: 'sqlite3' } : {
    GF_DATABASE_TYPE: 'postgres', GF_DATABASE_HOST: `${postgres.address}:${postgres.port}`, GF_DATABASE_NAME: database,
    GF_DATABASE_USER: user, GF_DATABASE_PASSWORD__FILE: '/etc/grafana-secrets/database-password', GF_DATABASE_SSL_MODE: 'disable'
  }
  const asks = [
    { to: [{ podSelector: { matchLabels: { app: 'prometheus' } } }], ports: [{ protocol: 'TCP', port: 9090 }] },
    ...(database === '' ? [] : JSON.parse(egressTo([{ targets: [`${postgres.address}:${postgres.port}`], labels: {} }])) as object[])
  ]
  return {
    name: 'grafana', title: 'Grafana', namespace: 'monitoring', kind: 'deployment',
    config: [{ file: 'grafana/config.yaml', values: { HOST: host, ADMIN: admin, DATABASE: inYaml(variables) } }],
    base: [
      { file: 'grafana/base.yaml', values: { HOST: host, INGRESS_SOURCES: ingressSources(settings), ASKS: inYaml(asks) } }
    ],
    workload: {
      file: 'grafana/deployment.yaml',
      values: { ...runs(own), DASHBOARDS: inYaml(dashboards.map((name) => ({ configMap: { name } }))) }
    }
  }
}
