// The monitoring: every target is reached and every query answered, a message comes for what a lab can break, and one for each.
import { readFileSync, globSync } from 'node:fs'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { parse } from 'yaml'
import { queriesOf } from '../../../dashboards/queries.mts'
import { bastion, kill, labUp, start } from '../nodes.mts'
import { converge, kubectl, masters, on, script, those, until } from './cluster.mts'
import { arrives, failing, forget, query, queryAll, toldInWords } from './monitoring.mts'
import { test } from './timed.mts'

await labUp()
await converge('--only', '07')

const install = (...flags: string[]) => script('09_k3s_07_install_monitoring', ...flags)
const folder = join(import.meta.dirname, '../../../manifests/07_monitoring')
const password = async (): Promise<string> => (await bastion(['cat', '/root/.keybuzz/secrets/prod-grafana-admin-password'])).stdout.trim()

// A message that was due because of the tests before is not one of these tests.
const quiet = (): Promise<void> => until('nothing is told any more', 240, async () => (await query('ALERTS{alertstate="firing", alertname!="Watchdog", severity="page"}')).length === 0)

test('a second run changes nothing', async () => {
  const run = await install('--yes')
  assert.is(run.exitCode, 0, run.text)
  assert.equal(those(run, 'changed', 'pending', 'unknown', 'failed'), [])
})

test('no series of K3s is there twice, though its one process serves all of them on every port', async () => {
  const twice = await query('count by (__name__) (count by (__name__, job) ({job=~"apiserver|kubelet|etcd", __name__!~"up|scrape_.*"})) > 1')
  assert.equal(twice.map(({ metric }) => metric['__name__']), [])
})

// K3s counts snapshots since its start, and a server that has just started has none.
for (const master of masters) await on(master, 'k3s etcd-snapshot save --name lab-monitoring')
await until('the snapshots are counted', 60, async () => (await query('k3s_etcd_snapshot_save_local_duration_seconds_count{job="kubelet"}')).length === masters.length)

// The lab has no such backend, and so no probe of it.
const without = (expr: string, backends: Set<string | undefined>): boolean => {
  const [, backend] = /\bbackend="(\w+)"/.exec(expr) ?? []
  return backend !== undefined && !backends.has(backend)
}

// It counts them for each host that it knows by name, and lets that one in no more after max_connect_errors (100).
const hungUp = (): Promise<string> => on('mariadb-01', 'mariadb -Ne "SHOW GLOBAL STATUS LIKE \'Aborted_connects_preauth\'"')
const before = await hungUp()
const began = Date.now()

test('every query of the dashboards has an answer', async () => {
  const backends = new Set((await query('probe_success{job="backends"}')).map(({ metric }) => metric['backend']))
  const jobs = new Set((await query('count by (job) (up)')).map(({ metric }) => metric['job']))
  const asked = globSync('dashboards/*.json', { cwd: folder }).flatMap((file) =>
    queriesOf(JSON.parse(readFileSync(join(folder, file), 'utf8')) as Parameters<typeof queriesOf>[0])
      .filter(({ expr, jobs: read, nothing }) => nothing === undefined && read.every((job) => jobs.has(job)) && !without(expr, backends))
      .map(({ panel, expr }) => ({ where: `${file} "${panel}"`, expr })))
  const answers = await queryAll(asked.map(({ expr }) => expr))
  const empty = asked.filter(({ expr }) => answers.get(expr)!.length === 0).map(({ where, expr }) => `${where}: ${expr}`)
  assert.equal(empty, [])
})

// Of a cluster that is well, or that has no Galera and no replica of a database. n8n's are the stand-in's lack.
const absent = new Set([
  'apiserver_admission_webhook_fail_open_count', 'kube_pod_container_status_waiting_reason', 'kube_pod_status_unschedulable', 'kube_job_failed',
  'mysql_global_status_wsrep_local_state', 'pg_stat_replication_pg_wal_lsn_diff', 'redis_master_link_up',
  'n8n_queue_job_stalled_total', 'n8n_runner_task_requested_total', 'n8n_runner_response_received_total'
])

test('what every alert compares is there', async () => {
  type Rules = { groups: { rules: { alert?: string; expr: string }[] }[] }
  const rules = globSync('rules/*.yaml', { cwd: folder })
    .flatMap((file) => (parse(readFileSync(join(folder, file), 'utf8')) as Rules).groups.flatMap((group) => group.rules))
  // Only what a label beside the job chooses may be absent on a healthy cluster: a phase, a reason, a code.
  const read = new Map(rules.flatMap(({ alert = '', expr }) =>
    [...expr.matchAll(/\b([a-zA-Z_][\w:]*)\{[^}]*?job=~?"([^"]+)"[^}]*\}/g)]
      .filter(([, name = '']) => !absent.has(name))
      .map(([, name = '', job = '']) => [`${name}{job=~"${job}"} or on () (absent(up{job=~"${job}"}))`, alert] as const)))
  const answers = await queryAll([...read.keys()])
  const missing = [...read].filter(([expr]) => answers.get(expr)!.length === 0).map(([expr, alert]) => `${alert}: ${expr}`)
  assert.equal(missing, [])
})

test('Grafana answers at its host to who has its password, and to nobody else', async () => {
  const ask = async (...args: string[]): Promise<string> =>
    (await bastion(['curl', '-sS', '-m', '10', '-w', '\n%{http_code}', '-H', 'Host: grafana.keybuzz.io', ...args])).stdout
  for (const balancer of ['10.0.0.5', '10.0.0.6']) {
    assert.match(await ask(`http://${balancer}/api/search`), /\n401$/)
    const found = await ask('-u', `admin:${await password()}`, `http://${balancer}/api/search?type=dash-db`)
    assert.match(found, /\n200$/)
    assert.is((JSON.parse(found.replace(/\n200$/, '')) as unknown[]).length, globSync('dashboards/*.json', { cwd: folder }).length)
  }
})

test('no secret is in a ConfigMap, a pod, a log, or the configuration that Prometheus shows', async () => {
  const { stdout } = await bastion(['bash', '-c', 'cat /root/.keybuzz/secrets/*monitoring* /root/.keybuzz/secrets/*webhook /root/.keybuzz/secrets/*grafana* /root/.keybuzz/secrets/*watchdog-url | sort -u'])
  const secrets = stdout.split('\n').filter(Boolean)
  assert.ok(secrets.length > 5)
  const seen = (await bastion(['bash', '-c', 'cat /root/.keybuzz/logs/*.log'])).stdout
    + await kubectl('-n', 'monitoring', 'get', 'configmaps,deployments,statefulsets,pods', '-o', 'yaml')
    + await kubectl('get', '--raw', '/api/v1/namespaces/monitoring/pods/prometheus-0:9090/proxy/api/v1/status/config')
    + await kubectl('get', '--raw', '/api/v1/namespaces/monitoring/pods/alertmanager-0:9093/proxy/api/v2/status')
  assert.equal(secrets.filter((secret) => seen.includes(secret)), [])
})

test('nobody who watches MariaDB hangs up before he has logged in', async () => {
  await until('it was asked twice by both', 60, async () => Date.now() > began + 35_000)
  assert.is(await hungUp(), before)
})

test('a node that loses its power is one page within two minutes', async () => {
  await quiet()
  await forget()
  const from = Date.now()
  await kill('k3s-worker-02')
  try {
    const seconds = await arrives('NodeDown', 'firing', 180, from)
    assert.ok(seconds < 120, `${seconds} s`)
    console.log(`  ${seconds.toFixed(0)} s from the fault to the message`)
    // What follows of it, such as pods that are missing, has had the time to come too. Its end: long/12.
    await until('half a minute after it', 60, async () => Date.now() > from + (seconds + 30) * 1000)
    assert.equal(await toldInWords('pages', from), ['pages firing NodeDown k3s-worker-02'])
  } finally {
    await start('k3s-worker-02')
  }
})

// The last one: what could not be sent is sent for minutes.
test('a test message reaches everybody; where it does not, its cause is told', async () => {
  await forget()
  const from = Date.now()
  const sent = await install('--yes', '--send-test')
  assert.is(sent.exitCode, 0, sent.text)
  assert.equal([await toldInWords('pages', from), await toldInWords('tickets', from)], [['pages firing Test'], ['tickets firing Test']])
  await failing('pages', true)
  try {
    const failed = await install('--yes', '--send-test')
    assert.is(failed.exitCode, 1, failed.text)
    assert.match(failed.text, /pages by webhook: .*500/)
  } finally {
    await failing('pages', false)
  }
})

test.run()
