import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { alertsArrive, hasRules, scrapesEverything, showsDashboards } from '../../../lib/monitoring/proofs.mts'
import { fakeMonitoring } from '../../support/fake-monitoring.mts'

const two = { prometheus: [{ name: 'prometheus-0' }, { name: 'prometheus-1', node: 'k3s-worker-05' }], alertmanager: [{ name: 'alertmanager-0' }, { name: 'alertmanager-1', node: 'k3s-worker-05' }] }
const nobody = { prometheus: [], alertmanager: [] }
const up = (labels: Record<string, string>) => ({ labels, health: 'up', lastError: '' })
const down = (labels: Record<string, string>, lastError: string) => ({ labels, health: lastError === '' ? 'unknown' : 'down', lastError })
const series = (...metrics: Record<string, string>[]) => ({ data: { result: metrics.map((metric) => ({ metric, value: [0, metric['value'] ?? '0'] })) } })
const means = (answer: (pod: string, path: string) => unknown, pods: typeof two | typeof nobody = two, sick: string[] = []) =>
  ({ kubectl: fakeMonitoring(pods, answer).kubectl, sick: () => sick })

test('targets that are not up are told once, with what Prometheus was told', async () => {
  const targets = [up({ job: 'node', node: 'k3s-master-01' }), down({ job: 'etcd', node: 'k3s-master-02' }, 'connection refused'), down({ job: 'minio', instance: 'minio-01' }, '')]
  const step = scrapesEverything(means((_, path) => (path.startsWith('/api/v1/targets') ? { data: { activeTargets: targets } } : series())))
  assert.equal((await step.check()).split('\n'), [
    '= 3 targets of 3 jobs, seen by 2 replicas', 'etcd k3s-master-02: connection refused', 'minio minio-01: was not asked yet'
  ])
})

test('what stands behind an exporter is told too', async () => {
  const dark = [
    { __name__: 'pg_up', job: 'postgres', instance: 'db-master-01' },
    { __name__: 'probe_success', job: 'apps', app: 'n8n', balancer: '10.0.0.5' },
    { __name__: 'probe_success', job: 'backends', backend: 'mariadb', instance: '10.0.0.20:3306' },
    { __name__: 'probe_success', job: 'servers', backend: 'rabbitmq', instance: 'queue-01' }
  ]
  const step = scrapesEverything(means((_, path) => (path.startsWith('/api/v1/targets') ? { data: { activeTargets: [up({ job: 'node' })] } } : series(...dark))))
  assert.equal((await step.check()).split('\n').slice(1), [
    'postgres db-master-01: its exporter does not get in. Is the password right, and may its user look?',
    'apps n8n through 10.0.0.5: does not answer as it should',
    'backends mariadb: its exporter does not get in. Is the password right, and may its user look?',
    'rabbitmq queue-01: takes no connection from blackbox'
  ])
})

test('what a replaced Prometheus does not ask any more is not told, though it still shows it', async () => {
  const asked: string[] = []
  await scrapesEverything(means((_, path) => {
    asked.push(decodeURIComponent(path))
    return path.startsWith('/api/v1/targets') ? { data: { activeTargets: [] } } : series()
  })).check()
  assert.match(asked.find((path) => path.includes('pg_up'))!, /and timestamp\(.*pg_up.*\) > time\(\) - \d+$/)
})

test('a node that is known to be sick is not told again, and its pods are not asked', async () => {
  const asked = new Set<string>()
  const targets = [up({ job: 'node', node: 'k3s-master-01' }), down({ job: 'node', node: 'k3s-worker-05' }, 'timeout')]
  const step = scrapesEverything(means((pod, path) => {
    asked.add(pod)
    return path.startsWith('/api/v1/targets') ? { data: { activeTargets: targets } } : series()
  }, two, ['k3s-worker-05']))
  assert.is(await step.check(), '= 1 target of 1 job, seen by 1 replica')
  assert.equal([...asked], ['prometheus-0'])
})

test('an alert that is not loaded, or cannot be computed, is told', async () => {
  const rules = [{ name: 'NodeDown', health: 'ok' }, { name: 'EtcdDown', health: 'err', lastError: 'many-to-many matching' }]
  const step = hasRules(means((pod) => ({ data: { groups: [{ rules: pod === 'prometheus-0' ? rules : rules.slice(0, 1) }] } })), ['NodeDown', 'EtcdDown'])
  assert.equal((await step.check()).split('\n'), ['= 2 alerts', 'EtcdDown cannot be computed: many-to-many matching', 'prometheus-1 lacks EtcdDown'])
})

test('the way of an alert is whole: both Alertmanagers, the Watchdog, and messages that get out', async () => {
  const answers = (peers: number, watchdogs: number, ...failed: Record<string, string>[]) => (_: string, path: string): unknown => {
    if (path.startsWith('/api/v2/status')) return { cluster: { status: 'ready', peers: Array.from({ length: peers }) } }
    return path.startsWith('/api/v2/alerts') ? Array.from({ length: watchdogs }) : series(...failed)
  }
  assert.is(await alertsArrive(means(answers(2, 1)), 2).check(), '= 2 Alertmanagers')
  assert.equal((await alertsArrive(means(answers(1, 0, { receiver_name: 'pages', integration: 'slack' })), 2).check()).split('\n').slice(1), [
    'alertmanager-0 knows 1 of 2 Alertmanagers, and is ready',
    'alertmanager-0 does not hear Prometheus: the alert Watchdog, which is always there, is missing',
    'alertmanager-1 knows 1 of 2 Alertmanagers, and is ready',
    'alertmanager-1 does not hear Prometheus: the alert Watchdog, which is always there, is missing',
    'messages to pages by slack failed in the last five minutes'
  ])
})

test('Grafana has every dashboard', async () => {
  assert.is(await showsDashboards(means(() => series({ value: '16' })), 16).check(), '= 16 dashboards')
  assert.is(await showsDashboards(means(() => series({ value: '15' })), 16).check(), 'Grafana has 15 of 16 dashboards')
  assert.is(await showsDashboards(means(() => series()), 16).check(), 'Grafana has 0 of 16 dashboards')
})

test('where no pod is ready that is what is said', async () => {
  const away = means(() => assert.unreachable(), nobody)
  for (const step of [scrapesEverything(away), hasRules(away, ['A']), showsDashboards(away, 1)]) assert.is(await step.check(), 'no pod of Prometheus is ready')
  assert.is(await alertsArrive(away, 2).check(), 'no pod of Alertmanager is ready')
})

test.run()
