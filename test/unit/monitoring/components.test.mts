import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { parse } from 'yaml'
import { defaultSettings, type Settings } from '../../../lib/input/settings.mts'
import { componentNames, componentsOf } from '../../../lib/monitoring/components.mts'
import { dashboardMap, filesIn } from '../../../lib/monitoring/files.mts'
import type { Target } from '../../../lib/monitoring/targets.mts'
import { all, type Container, type Made, one, rendered, variants } from './rendered.mts'

type Relabel = { source_labels?: string[]; regex?: string; action?: string; target_label?: string; replacement?: string }
type Scrape = {
  job_name: string
  scheme?: string
  metrics_path?: string
  authorization?: { credentials_file: string } | null
  honor_labels?: boolean
  kubernetes_sd_configs?: { role: string }[]
  static_configs?: Target[]
  relabel_configs?: Relabel[]
  metric_relabel_configs?: Relabel[]
}
type Config = {
  global: { scrape_interval: string; evaluation_interval: string; external_labels: Record<string, string> }
  rule_files: string[]
  alerting: { alert_relabel_configs: Relabel[]; alertmanagers: { relabel_configs: Relabel[] }[] }
  scrape_configs: Scrape[]
}

const defaults = await rendered(variants['defaults']!)
const odd = await rendered(variants['odd']!)
const configOf = (objects: Made[]): Config => parse(one(objects, 'ConfigMap', 'prometheus').data!['prometheus.yml']!) as Config
const config = configOf(defaults)
const job = (name: string, from = config): Scrape => from.scrape_configs.find(({ job_name: own }) => own === name)!
const container = (objects: Made[], kind: string, name: string): Container => one(objects, kind, name).spec.template.spec.containers[0]!

const itself = ['prometheus', 'alertmanager', 'grafana', 'blackbox', 'postgres-exporter', 'redis-exporter', 'mysqld-exporter']

test('the jobs are those that rules and dashboards name', () => {
  const names = config.scrape_configs.map(({ job_name: name }) => name)
  assert.equal(names, [
    'apiserver', 'kubelet', 'cadvisor', 'etcd', 'node', 'ingress', 'kube-state-metrics', 'n8n', 'vault-agent', 'postgres', 'redis', 'mysql',
    'rabbitmq', 'minio', 'vault', 'servers', 'backends', 'backends-login', 'balancers', 'apps', 'monitoring'
  ])
  const [keep] = job('monitoring').relabel_configs!
  assert.is(keep!.regex, `(${itself.join('|')});http`)
  assert.ok(job('monitoring').relabel_configs!.some(({ target_label: label, source_labels: from }) =>
    label === 'job' && from![0] === '__meta_kubernetes_pod_label_app'))
})

test('Alertmanager resolves its receivers also where CoreDNS is away', () => {
  const { spec } = one(defaults, 'StatefulSet', 'alertmanager').spec.template as { spec: { dnsConfig?: object } }
  assert.equal(spec.dnsConfig, { nameservers: ['1.1.1.1', '8.8.8.8'] })
  assert.match(JSON.stringify(one(defaults, 'NetworkPolicy', 'alertmanager-sends')), /"to":\[\{"ipBlock":\{"cidr":"1\.1\.1\.1\/32"\}\}.*"port":53/)
})

test('what runs on a node has its name', () => {
  for (const name of ['apiserver', 'kubelet', 'cadvisor', 'etcd', 'node', 'ingress', 'n8n', 'vault-agent', 'monitoring'])
    assert.ok(job(name).relabel_configs!.some(({ target_label: label }) => label === 'node'), name)
})

test('every 15 s everything is asked and judged, and both replicas tell both Alertmanagers the same', () => {
  const { global, alerting } = config
  assert.equal(global, {
    scrape_interval: '15s', scrape_timeout: '10s', evaluation_interval: '15s', external_labels: { cluster: 'prod', replica: '$POD_NAME' }
  })
  assert.equal(alerting.alert_relabel_configs, [{ action: 'labeldrop', regex: 'replica' }])
  assert.equal(alerting.alertmanagers[0]!.relabel_configs.map(({ regex }) => regex), ['alertmanager;http'])
})

test('each target list of the inventory is in its job', () => {
  assert.equal(job('postgres').static_configs!.map(({ labels }) => labels['instance']), ['db-master-01', 'db-slave-01'])
  assert.equal(job('apps', configOf(odd)).static_configs!.filter(({ labels }) => labels['app'] === 'n8n'), [])
  assert.equal([job('mysql', configOf(odd)).static_configs, job('vault', configOf(odd)).static_configs], [[], []])
  assert.equal([job('minio').authorization, job('minio', configOf(odd)).authorization], [null, { credentials_file: '/etc/prometheus/tokens/minio-token' }])
})

// Which series a job keeps, by the name of the metric alone: how Prometheus reads keep and drop.
const kept = (name: string, metric: string): boolean => {
  let bucket = ''
  for (const { source_labels: from = [], regex = '', action = 'replace', target_label: label } of job(name).metric_relabel_configs ?? []) {
    if (from[0] !== '__name__' || from.some((one) => one !== '__name__' && one !== '__tmp_bucket')) continue
    const matches = new RegExp(`^(?:${regex})$`).test(from.map((one) => (one === '__name__' ? metric : bucket)).join(';'))
    if (label === '__tmp_bucket' && matches) bucket = 'keep'
    if ((action === 'drop' && matches) || (action === 'keep' && !matches)) return false
  }
  return true
}

test("each part of K3s's one process is kept at one port", () => {
  const placed = (metric: string): string[] => ['apiserver', 'kubelet', 'etcd'].filter((name) => kept(name, metric))
  for (const metric of ['apiserver_request_total', 'etcd_request_duration_seconds_count', 'scheduler_pending_pods', 'workqueue_depth',
    'apiserver_request_duration_seconds_bucket', 'process_start_time_seconds', 'apiserver_admission_webhook_fail_open_count']) {
    assert.equal(placed(metric), ['apiserver'], metric)
  }
  for (const metric of ['kubelet_running_pods', 'kubelet_pleg_relist_duration_seconds_bucket', 'kubeproxy_sync_proxy_rules_duration_seconds_count',
    'process_resident_memory_bytes', 'go_goroutines']) assert.equal(placed(metric), ['kubelet'], metric)
  for (const metric of ['etcd_server_has_leader', 'etcd_disk_wal_fsync_duration_seconds_bucket', 'etcd_network_peer_round_trip_time_seconds_bucket',
    'etcd_mvcc_db_total_size_in_bytes']) assert.equal(placed(metric), ['etcd'], metric)
  for (const metric of ['etcd_request_duration_seconds_bucket', 'apiserver_request_slo_duration_seconds_bucket', 'workqueue_queue_duration_seconds_bucket',
    'etcd_debugging_mvcc_db_compaction_total_duration_milliseconds_bucket', 'grpc_server_handled_total', 'go_gc_duration_seconds'])
    assert.equal(placed(metric), [], metric)
})

test("agents have K3s's own metrics at the kubelet's port only, so they are kept there, and nowhere else", () => {
  for (const metric of ['k3s_certificate_expiration_seconds', 'k3s_loadbalancer_server_health'])
    assert.equal([kept('apiserver', metric), kept('kubelet', metric), kept('etcd', metric)], [false, true, false], metric)
})

test('of containers only what is read is kept', () => {
  assert.ok(kept('cadvisor', 'container_memory_working_set_bytes') && kept('cadvisor', 'container_cpu_usage_seconds_total'))
  assert.not(kept('cadvisor', 'container_tasks_state') || kept('cadvisor', 'container_memory_failures_total'))
})

test("Vault's agents are asked where the injection has them listen, and Prometheus may reach them", () => {
  const manifest = (file: string): string => readFileSync(join(import.meta.dirname, '../../../manifests', file), 'utf8')
  const { metrics_path: path, relabel_configs: [keep] = [] } = job('vault-agent')
  const [, name, port] = /ports\{name: "([\w-]+)", containerPort: (\d+)\}/.exec(manifest('08_vault/injection.yaml')) ?? []
  assert.equal([path, keep], ['/agent/v1/metrics', { source_labels: ['__meta_kubernetes_pod_container_port_name'], regex: name, action: 'keep' }])
  const outwards = one(defaults, 'NetworkPolicy', 'prometheus-asks').spec.egress!.find(({ ports = [] }) => ports.some((one) => one.port === Number(port)))
  assert.equal(outwards?.to, [{ namespaceSelector: { matchLabels: { 'keybuzz.io/vault': 'on' } } }])
  assert.match(manifest('06_core_apps/vault.yaml'), `port: ${port}`)
  assert.equal(['vault_agent_authenticated', 'vault_agent_auth_failure', 'vault_agent_auth_success', 'vault_runtime_sys_bytes', 'go_goroutines']
    .filter((metric) => kept('vault-agent', metric)), ['vault_agent_authenticated', 'vault_agent_auth_failure'])
})

test('the rules, and the targets of the settings as series, are one ConfigMap', () => {
  const rules = one(defaults, 'ConfigMap', 'rules').data!
  assert.match(rules['settings.yaml']!, 'keybuzz_capacity_pods, expr: "vector(1000)"')
  assert.match(rules['settings.yaml']!, 'keybuzz_snapshots_daily, expr: "vector(1)"')
  assert.equal(config.rule_files, ['/etc/prometheus/rules/*.yaml'])
})

test('Prometheus keeps what the settings say, on a node of its own for each replica', () => {
  const args = container(defaults, 'StatefulSet', 'prometheus').args!
  assert.ok(args.includes('--storage.tsdb.retention.time=15d') && args.includes('--storage.tsdb.retention.size=20GB'))
  assert.equal([one(defaults, 'StatefulSet', 'prometheus').spec.replicas, one(odd, 'StatefulSet', 'prometheus').spec.replicas], [2, 1])
  for (const name of ['prometheus', 'alertmanager']) {
    const { podManagementPolicy, template, serviceName } = one(odd, 'StatefulSet', name).spec
    assert.is(podManagementPolicy, 'Parallel')
    assert.match(JSON.stringify(template.spec.affinity), '"operator":"In","values":["general"]')
    assert.match(JSON.stringify(template.spec.affinity), '"podAntiAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":')
    assert.is(one(odd, 'Service', serviceName!).metadata.name, serviceName)
    assert.is(one(odd, 'PodDisruptionBudget', name).spec.maxUnavailable, 1)
  }
})

test('what asks servers outside runs where these let it in', () => {
  for (const [kind, name] of [['StatefulSet', 'prometheus'], ['Deployment', 'blackbox'], ['Deployment', 'postgres-exporter']] as const) {
    const { nodeAffinity } = one(odd, kind, name).spec.template.spec.affinity as { nodeAffinity: Record<string, unknown> }
    assert.equal(nodeAffinity['requiredDuringSchedulingIgnoredDuringExecution'], {
      nodeSelectorTerms: [{ matchExpressions: [{ key: 'keybuzz.io/pool', operator: 'In', values: ['general'] }] }]
    }, name)
  }
})

test('Prometheus and exporters reach their targets and no other server', () => {
  const places = (objects: Made[], name: string): string[] =>
    one(objects, 'NetworkPolicy', name).spec.egress!.flatMap(({ to, ports = [] }) =>
      to.flatMap(({ ipBlock }) => (ipBlock ? ports.map(({ port }) => `${ipBlock.cidr}:${port}`) : [])))
  assert.equal(places(defaults, 'prometheus-asks-servers'), ['10.0.0.126/32:15692', '10.0.0.134/32:9000', '10.0.0.150/32:8200'])
  assert.equal(places(defaults, 'postgres-exporter-asks'), ['10.0.0.120/32:5432', '10.0.0.121/32:5432'])
  for (const place of ['10.0.0.121/32:5432', '10.0.0.126/32:5672', '10.0.0.10/32:6379', '10.0.0.6/32:443']) {
    assert.ok(places(defaults, 'blackbox-asks').includes(place), place)
  }
  assert.equal(places(odd, 'grafana-asks'), ['10.0.0.10/32:5432'])
  assert.equal(places(defaults, 'grafana-asks'), [])
})

test("MariaDB's exporter reaches the address of the settings too", async () => {
  const machine = { name: 'maria-01', address: '10.0.0.21', role: 'mariadb', subrole: '', stack: '', line: 2 }
  const { base } = (await componentsOf(defaultSettings(), [machine])).find(({ name }) => name === 'mysqld-exporter')!
  assert.match(JSON.stringify(base), /10\.0\.0\.21\/32.*10\.0\.0\.20\/32/)
})

test('Alertmanager has its configuration and its words, with the links of the settings', async () => {
  const settings = defaultSettings()
  settings.monitoring.alerts.runbooks = 'https://git.keybuzz.io/k3s/'
  const words = one(await rendered(settings), 'ConfigMap', 'alertmanager').data!
  assert.equal(Object.keys(words), ['alertmanager.yml', 'messages.tmpl'])
  assert.match(words['messages.tmpl']!, 'https://grafana.keybuzz.io/d/{{ . }}')
  assert.match(words['messages.tmpl']!, 'What to do: https://git.keybuzz.io/k3s/{{ . }}')
  const inhibitions = (parse(words['alertmanager.yml']!) as { inhibit_rules: unknown[] }).inhibit_rules
  assert.ok(Array.isArray(inhibitions))
})

test('Grafana has everything by provisioning, and lets nobody in without a password', () => {
  const environment = one(defaults, 'ConfigMap', 'grafana-environment').data!
  assert.is(environment['GF_AUTH_ANONYMOUS_ENABLED'], 'false')
  assert.is(environment['GF_SERVER_ROOT_URL'], 'https://grafana.keybuzz.io/')
  const { datasources } = parse(one(defaults, 'ConfigMap', 'grafana').data!['datasources.yaml']!) as { datasources: { uid: string; url: string }[] }
  assert.equal(datasources.map(({ uid, url }) => [uid, url]), [['prometheus', 'http://prometheus:9090']])
})

test("Grafana's database is a file of its pod, or PostgreSQL with its password from a file", () => {
  assert.equal(one(defaults, 'ConfigMap', 'grafana-database').data, { GF_DATABASE_TYPE: 'sqlite3' })
  assert.equal(one(odd, 'ConfigMap', 'grafana-database').data, {
    GF_DATABASE_TYPE: 'postgres', GF_DATABASE_HOST: '10.0.0.10:5432', GF_DATABASE_NAME: 'grafana', GF_DATABASE_USER: 'grafana',
    GF_DATABASE_PASSWORD__FILE: '/etc/grafana-secrets/database-password', GF_DATABASE_SSL_MODE: 'disable'
  })
})

test("Grafana answers at its host, but tells nobody its metrics", () => {
  const [ingress] = all(defaults, 'Ingress')
  assert.is(ingress!.metadata.annotations!['nginx.org/redirect-to-https'], 'true')
  const [rule] = ingress!.spec.rules!
  assert.is(rule!.host, 'grafana.keybuzz.io')
  assert.equal(rule!.http.paths.map(({ path, pathType, backend: { service } }) => `${path} ${pathType} ${service.name}`), ['/metrics Exact nobody', '/ Prefix grafana'])
})

test('the ConfigMaps of all dashboards are one folder', async () => {
  const { workload } = (await componentsOf(defaultSettings(), [])).find(({ name }) => name === 'grafana')!
  const sources = parse(String(workload.values['DASHBOARDS'])) as { configMap: { name: string } }[]
  assert.equal(sources.map(({ configMap }) => configMap.name), Object.keys(await filesIn('dashboards', '.json')).map(dashboardMap))
})

test('node-exporter listens at the private address of its node alone', () => {
  const { args = [], env = [] } = container(defaults, 'DaemonSet', 'node-exporter')
  assert.ok(args.includes('--web.listen-address=$(NODE_IP):9100'))
  assert.equal(env.map(({ name }) => name), ['NODE_IP'])
})

test('the list of names is complete and in order', async () => {
  const settings: Settings = variants['defaults']!
  const names = (await componentsOf(settings, [{ name: 'db-01', address: '10.0.0.9', role: 'db', subrole: '', stack: '', line: 2 },
    { name: 'redis-01', address: '10.0.0.8', role: 'redis', subrole: '', stack: '', line: 3 }])).map(({ name }) => name)
  assert.equal(names, [...componentNames])
})

test.run()
