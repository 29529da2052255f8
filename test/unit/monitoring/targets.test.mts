import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { UsageError } from '../../../lib/base/errors.mts'
import { type Machine, readInventory } from '../../../lib/input/inventory.mts'
import { defaultSettings, type Settings } from '../../../lib/input/settings.mts'
import { type Targets, targetsOf } from '../../../lib/monitoring/targets.mts'

const { machines: documented } = await readInventory(join(import.meta.dirname, '../../../servers.tsv'))

const machine = (name: string, role: string, address = '10.0.0.77', line = 7): Machine => ({ name, address, role, subrole: 'x', stack: 'y', line })

const found = (change: (settings: Settings) => void = () => {}, machines = documented): Targets => {
  const settings = defaultSettings()
  change(settings)
  return targetsOf(machines, settings)
}

const refusal = (machines: Machine[], ignore: string[] = []): string => {
  try {
    found(({ monitoring }) => { monitoring.ignore = ignore }, machines)
  } catch (error) {
    if (error instanceof UsageError) return error.message
    throw error
  }
  throw new Error('expected a UsageError')
}

const names = (list: Targets[keyof Targets]) => list.map(({ targets: [target], labels }) => `${labels['instance']} ${labels['role']} ${target}`)

test('the servers of the documented file are asked by their ROLE, at their own ports', () => {
  const targets = found()
  assert.equal(names(targets.postgres), ['db-master-01 db 10.0.0.120:5432', 'db-slave-01 db 10.0.0.121:5432'])
  assert.equal(names(targets.redis), ['redis-01 redis 10.0.0.123:6379'])
  assert.equal(names(targets.rabbitmq), ['queue-01 queue 10.0.0.126:15692'])
  assert.equal(names(targets.minio), ['minio-01 storage 10.0.0.134:9000'])
  assert.equal(names(targets.vault), ['vault-01 vault 10.0.0.150:8200'])
  const { rabbitmq, minio, vault, servers } = found(({ backends, monitoring }) => {
    for (const one of [backends.rabbitmq, backends.minio, backends.vault]) one.port = 443 // of a load balancer
    monitoring.rabbitmq = { port: 5673, metrics_port: 15_693 }
    monitoring.minio.port = 9001
    monitoring.vault.port = 8201
  })
  assert.equal([rabbitmq, minio, vault].map((list) => list[0]!.targets[0]), ['10.0.0.126:15693', '10.0.0.134:9001', '10.0.0.150:8201'])
  assert.equal(servers.filter(({ labels }) => labels['backend'] === 'rabbitmq').map(({ targets: [target] }) => target), ['10.0.0.126:5673'])
})

test('MariaDB is asked at its rows, and at the address of the settings where it has none', () => {
  assert.equal(names(found().mysql), ['mariadb mariadb 10.0.0.20:3306'])
  const rows = [machine('maria-01', 'mariadb', '10.0.0.21'), machine('galera-02', 'galera', '10.0.0.22')]
  assert.equal(names(found(() => {}, rows).mysql), ['maria-01 mariadb 10.0.0.21:3306', 'galera-02 galera 10.0.0.22:3306'])
})

test('what has no address in the settings is not there: nothing asks it', () => {
  const { vault, mysql, backends } = found(({ backends: all }) => {
    all.vault.address = ''
    all.mariadb.address = ''
  })
  assert.equal([vault, mysql], [[], []])
  assert.equal(backends.map(({ labels }) => labels['backend']), ['postgres', 'redis', 'rabbitmq', 'minio'])
})

test('the servers are asked whether they take connections too, at their own ports', () => {
  const { servers } = found(({ monitoring, backends }) => {
    monitoring.postgres.port = 5433
    backends.rabbitmq.port = 5673
  })
  assert.equal(servers.map(({ targets: [target], labels }) => `${labels['backend']} ${labels['instance']} ${target}`), [
    'postgres db-master-01 10.0.0.120:5433', 'postgres db-slave-01 10.0.0.121:5433', 'rabbitmq queue-01 10.0.0.126:5672'
  ])
})

test('MariaDB is asked by who logs in alone: it shuts a node out whose clients hang up before', () => {
  const { login, servers, backends } = found(() => {}, [machine('maria-01', 'mariadb', '10.0.0.21')])
  assert.equal(login, [{ targets: ['10.0.0.20:3306'], labels: { backend: 'mariadb' } }])
  assert.equal([...servers, ...backends].filter(({ targets: [target] }) => target.endsWith(':3306')), [])
})

test('the other backends are asked where the applications find them', () => {
  assert.equal(found().backends.map(({ targets: [target], labels }) => `${labels['backend']} ${target}`), [
    'postgres 10.0.0.10:5432', 'redis 10.0.0.10:6379', 'rabbitmq 10.0.0.10:5672', 'minio 10.0.0.134:9000',
    'vault https://10.0.0.150:8200/v1/sys/health?standbyok=true'
  ])
})

test('each load balancer is asked for its health check, with the Host header of the settings', () => {
  assert.equal(found().balancers, [
    { targets: ['http://10.0.0.5/healthz'], labels: { balancer: '10.0.0.5' } },
    { targets: ['http://10.0.0.6/healthz'], labels: { balancer: '10.0.0.6' } }
  ])
  const [first] = found(({ ingress: { health_check: check } }) => {
    check.path = '/alive'
    check.host = 'lb.keybuzz.io'
  }).balancers
  assert.equal(first, { targets: ['http://10.0.0.5/alive'], labels: { balancer: '10.0.0.5', __param_hostname: 'lb.keybuzz.io' } })
})

test('each enabled application and Grafana is asked at its host through every load balancer', () => {
  const all = found(({ apps }) => { apps.chatwoot.enabled = false }).apps
  assert.equal(all.map(({ targets: [target], labels }) => `${labels['app']} ${labels['host']} ${target}`), [
    'api platform-api.keybuzz.io https://10.0.0.5/health', 'api platform-api.keybuzz.io https://10.0.0.6/health',
    'front platform.keybuzz.io https://10.0.0.5/', 'front platform.keybuzz.io https://10.0.0.6/',
    'n8n n8n.keybuzz.io https://10.0.0.5/healthz', 'n8n n8n.keybuzz.io https://10.0.0.6/healthz',
    'grafana grafana.keybuzz.io https://10.0.0.5/api/health', 'grafana grafana.keybuzz.io https://10.0.0.6/api/health'
  ])
  assert.ok(all.every(({ labels }) => labels['__param_hostname'] === labels['host']))
})

test('an unknown ROLE is refused with its line, its value, and what to do; all of them at once', () => {
  assert.is(refusal([machine('search-01', 'search', '10.0.0.9', 12), machine('redis-02', 'rediss', '10.0.0.8', 13)]),
    'servers.tsv:12 ROLE "search": expected one of k3s, db, redis, mariadb, galera, queue, storage, vault, lb, monitoring. '
    + 'Nothing is known that could be asked of such a server. Correct it, or add search-01 to monitoring.ignore in settings.yaml.\n'
    + 'servers.tsv:13 ROLE "rediss": expected one of k3s, db, redis, mariadb, galera, queue, storage, vault, lb, monitoring. '
    + 'Did you mean redis? Correct it, or add redis-02 to monitoring.ignore in settings.yaml.')
})

test('a target without an address is refused, a server that is no target may have none', () => {
  assert.is(refusal([machine('db-03', 'db', 'soon'), machine('lb-03', 'lb', '')]),
    'servers.tsv:7 IP_PRIVEE "soon": expected the address at which Prometheus asks it. '
    + 'Fix the column, or add db-03 to monitoring.ignore in settings.yaml.')
})

test('what is ignored is not asked, whatever it is; a name that no row has is told', () => {
  const { postgres } = found(({ monitoring }) => { monitoring.ignore = ['db-slave-01'] })
  assert.equal(names(postgres), ['db-master-01 db 10.0.0.120:5432'])
  assert.equal(names(found(({ monitoring }) => { monitoring.ignore = ['odd-01'] }, [machine('odd-01', 'odd', 'none')]).postgres), [])
  assert.is(refusal(documented, ['db-slave-1', 'elsewhere']),
    'settings.yaml monitoring.ignore "db-slave-1": expected a HOSTNAME of servers.tsv that is no K3s node. Did you mean db-slave-01?\n'
    + 'settings.yaml monitoring.ignore "elsewhere": expected a HOSTNAME of servers.tsv that is no K3s node. Delete it.')
})

test.run()
