// One cause is one message: what inhibit.yaml leaves of the alerts that fire together. An unrelated page is never held back.
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { parse } from 'yaml'

type Labels = Record<string, string>
type Inhibition = { source_matchers: string[]; target_matchers: string[]; equal?: string[] }
type Rules = { groups: { rules: { alert: string; labels: Labels }[] }[] }

const root = join(import.meta.dirname, '../..')
const read = <T,>(file: string): T => parse(readFileSync(join(root, file), 'utf8')) as T
const inhibitions = read<Inhibition[]>('manifests/07_monitoring/alertmanager/inhibit.yaml')
const rules = globSync('manifests/07_monitoring/rules/*.yaml', { cwd: root })
  .flatMap((file) => read<Rules>(file).groups.flatMap((group) => group.rules))

/** Alerts, one a line: the name, and the labels that its rule does not give it. */
const alerts = (text: string): Labels[] =>
  text.trim().split('\n').map((line) => {
    const [alertname = '', ...pairs] = line.trim().split(/ +/)
    const rule = rules.find(({ alert }) => alert === alertname)
    assert.ok(rule, `${alertname} is no alert`)
    return { alertname, ...rule!.labels, ...Object.fromEntries(pairs.map((pair) => pair.split('='))) as Labels }
  })

const matches = (labels: Labels, matchers: string[]): boolean =>
  matchers.every((matcher) => {
    const [, name = '', operator = '', wanted = ''] = /^(\w+)(=~|!~|!=|=)"(.*)"$/.exec(matcher) ?? []
    const value = labels[name] ?? ''
    const same = operator.includes('~') ? new RegExp(`^(?:${wanted})$`).test(value) : value === wanted
    return operator.startsWith('!') ? !same : same
  })

/**
 * As Alertmanager holds back (inhibit.go): a label that is missing is empty, a pattern is of the whole value, and of two alerts that
 * both match both sides neither holds back the other.
 */
const holdsBack = (source: Labels, target: Labels): boolean =>
  inhibitions.some(({ source_matchers, target_matchers, equal = [] }) =>
    matches(source, source_matchers) && matches(target, target_matchers) &&
    !(matches(target, source_matchers) && matches(source, target_matchers)) &&
    equal.every((name) => (source[name] ?? '') === (target[name] ?? '')))

const told = (text: string): string[] => {
  const all = alerts(text)
  return all.filter((target) => !all.some((source) => source !== target && holdsBack(source, target)))
    .map(({ alertname = '' }) => alertname)
}

test('every matcher is one that Alertmanager takes', () => {
  const all = inhibitions.flatMap(({ source_matchers, target_matchers }) => [...source_matchers, ...target_matchers])
  assert.equal(all.filter((matcher) => !/^\w+(=~|!~|!=|=)"[^"]*"$/.test(matcher)), [])
})

test('a server without power is one message', () => {
  assert.equal(told(`
    NodeDown node=k3s-master-02
    K3sDown node=k3s-master-02
    NodeNotReady node=k3s-master-02
    EtcdMemberDown node=k3s-master-02
    IngressDown node=k3s-master-02
    ApiServerDown node=k3s-master-02
    TargetDown node=k3s-master-02 job=cadvisor
    TargetDown node=k3s-master-02 job=prometheus
    WorkloadShort namespace=monitoring workload=prometheus
    AlertmanagerAlone
    PrometheusNotSending pod=prometheus-0
    GrafanaDown
    ClusterNoRoom resource=cpu`), ['NodeDown'])
})

test('without the API a kubelet gives no metrics of its containers: nobody tells it who asks', () => {
  assert.equal(told(`
    ApiDown
    NodeNotReady node=k3s-worker-01
    TargetDown node=k3s-worker-01 job=cadvisor
    TargetDown node=k3s-worker-01 job=n8n`), ['ApiDown', 'TargetDown'])
})

test('a Vault that is sealed or down gives no metrics: that is no message of its own', () => {
  for (const cause of ['VaultDown', 'VaultSealed']) assert.equal(told(`${cause}\nTargetDown job=vault\nTargetDown job=n8n`), [cause, 'TargetDown'])
})

test('what has nothing to do with a dead node is told beside it', () => {
  const beside = [
    'IngressDown node=k3s-worker-01', 'PostgresDown', 'AppDown app=front', 'SitesDown', 'N8nMainDown app=n8n', 'ClusterDnsDown',
    'RabbitmqAlarm instance=queue-01', 'TargetDown node=k3s-worker-01 job=node', 'PodUnschedulable namespace=keybuzz-api pod=x'
  ]
  for (const alert of beside) assert.equal(told(`NodeDown node=k3s-master-02\n${alert}`), ['NodeDown', alert.split(' ')[0]])
})

test('K3s that is stopped on a server is one message, and its nginx and its disk are others', () => {
  assert.equal(told(`
    K3sDown node=k3s-master-02
    NodeNotReady node=k3s-master-02
    EtcdMemberDown node=k3s-master-02
    ApiServerDown node=k3s-master-02
    TargetDown node=k3s-master-02 job=cadvisor
    IngressDown node=k3s-master-02
    NodeDiskFull node=k3s-master-02 mountpoint=/
    NodeNotReady node=k3s-worker-01`), ['K3sDown', 'IngressDown', 'NodeDiskFull', 'NodeNotReady'])
})

test('two dead servers are told, and that the majority is lost; not the API beside it', () => {
  assert.equal(told(`
    NodeDown node=k3s-master-02
    NodeDown node=k3s-master-03
    EtcdQuorumLost
    EtcdNoLeader node=k3s-master-01
    ApiDown
    K3sDown node=k3s-worker-01
    NodeNotReady node=k3s-master-02`), ['NodeDown', 'NodeDown', 'EtcdQuorumLost'])
})

test('a database is one message: not its hosts, not the applications that use it', () => {
  assert.equal(told(`
    PostgresDown
    PostgresHostDown instance=db-master-01
    PostgresReplicaMissing
    AppDown app=api
    AppDown app=chatwoot
    AppDown app=superset
    AppErrors app=api
    N8nMainDown app=n8n
    N8nWorkersDown
    SidekiqDown
    WorkloadDown namespace=keybuzz-api workload=api
    PodCrashLooping namespace=keybuzz-n8n pod=x`), ['PostgresDown'])
  assert.equal(told(`
    PostgresDown
    RedisDown
    RabbitmqHostDown instance=queue-01
    AppDown app=front
    WorkloadDown namespace=monitoring workload=grafana`),
  ['PostgresDown', 'RedisDown', 'RabbitmqHostDown', 'AppDown', 'WorkloadDown'])
})

test('a database that is down does not hide what may be its cause', () => {
  assert.equal(told('PostgresDown\nPostgresTwoPrimaries\nPostgresReplicaMissing'), ['PostgresDown', 'PostgresTwoPrimaries'])
  assert.equal(told(`
    RabbitmqDown
    RabbitmqAlarm instance=queue-01
    RabbitmqQueuesLong`), ['RabbitmqDown', 'RabbitmqAlarm'])
})

test('only those applications wait for RabbitMQ and MinIO that use them', () => {
  assert.equal(told('RabbitmqDown\nAppDown app=api\nAppDown app=chatwoot'), ['RabbitmqDown', 'AppDown'])
  assert.equal(told('MinioDown\nAppErrors app=chatwoot\nSidekiqDown\nN8nMainDown app=n8n'),
    ['MinioDown', 'SidekiqDown', 'N8nMainDown'])
})

test('one host of a database is one message, another trouble another one', () => {
  assert.equal(told(`
    PostgresHostDown instance=db-slave-01
    PostgresReplicaMissing
    PostgresReplicaLags instance=db-slave-01
    PostgresTwoPrimaries
    PostgresConnectionsHigh instance=db-master-01
    RedisMemoryHigh instance=redis-01`),
  ['PostgresHostDown', 'PostgresTwoPrimaries', 'PostgresConnectionsHigh', 'RedisMemoryHigh'])
})

test('no load balancer is one message, one of two is one, an application is one', () => {
  assert.equal(told(`
    SitesDown
    BalancerDown balancer=10.0.0.5
    BalancerDown balancer=10.0.0.6
    AppDown app=api
    AppDown app=front
    N8nMainDown app=n8n
    GrafanaDown`), ['SitesDown'])
  assert.equal(told(`
    BalancerDown balancer=10.0.0.5
    AppPartlyDown app=api balancer=10.0.0.5
    AppPartlyDown app=api balancer=10.0.0.6`), ['BalancerDown', 'AppPartlyDown'])
  assert.equal(told('AppDown app=api\nAppErrors app=api\nAppSomeErrors app=api\nAppErrors app=front'), ['AppDown', 'AppErrors'])
})

test("n8n's workers that are stopped are one message, and the worse of two says it all", () => {
  assert.equal(told(`
    N8nWorkersDown
    N8nQueueStuck
    N8nQueueLong
    WorkloadDown namespace=keybuzz-n8n workload=n8n-worker
    WorkloadShort namespace=keybuzz-n8n workload=n8n-worker
    WorkloadShort namespace=keybuzz-n8n workload=n8n-webhook`), ['N8nWorkersDown', 'WorkloadShort'])
  assert.equal(told(`
    NodeDiskFull node=a mountpoint=/
    NodeDiskFilling node=a mountpoint=/
    NodeDiskFilling node=b mountpoint=/`), ['NodeDiskFull', 'NodeDiskFilling'])
})

test.run()
