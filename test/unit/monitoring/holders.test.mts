import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { defaultSettings, type Settings } from '../../../lib/input/settings.mts'
import { postgresModules } from '../../../lib/monitoring/exporters.mts'
import { holdersOf, monitoringSecrets, readBy, waysOf } from '../../../lib/monitoring/holders.mts'
import type { Targets } from '../../../lib/monitoring/targets.mts'

const settingsWith = (change: (settings: Settings) => void): Settings => {
  const settings = defaultSettings()
  change(settings)
  return settings
}
const none: Targets = {
  postgres: [], redis: [], mysql: [], rabbitmq: [], minio: [], vault: [], servers: [], backends: [], login: [], balancers: [], apps: []
}
const some = (...jobs: (keyof Targets)[]): Targets =>
  ({ ...none, ...Object.fromEntries(jobs.map((job) => [job, [{ targets: ['10.0.0.1:1'], labels: {} }]])) })
const namesOf = (settings: Settings, ...jobs: (keyof Targets)[]) => {
  const { alertmanager, exporters, grafana } = holdersOf(settings, some(...jobs))
  return [alertmanager, exporters, grafana].map(({ given }) => given.map(({ name }) => name))
}

test('nothing is asked for but what the settings and the servers need', () => {
  assert.equal(namesOf(defaultSettings()), [[], [], []])
  assert.equal(namesOf(defaultSettings(), 'postgres', 'redis', 'mysql', 'minio', 'vault', 'rabbitmq'),
    [[], ['monitoring-postgres-password', 'redis-password', 'monitoring-mysql-password'], []])
  const all = settingsWith(({ monitoring, backends }) => {
    monitoring.minio.token = monitoring.vault.token = monitoring.alerts.watchdog = true
    monitoring.grafana.database = 'grafana'
    monitoring.alerts.pages = { webhook: true, slack: '#alerts', email: 'ops@keybuzz.io' }
    monitoring.alerts.tickets = { webhook: true, slack: '', email: 'ops@keybuzz.io' }
    backends.smtp.user = 'alerts'
  })
  assert.equal(namesOf(all, 'minio', 'vault'), [
    ['pages-webhook', 'pages-slack', 'smtp-password', 'tickets-webhook', 'watchdog-url'],
    ['monitoring-minio-token', 'monitoring-vault-token'], ['grafana-postgres-password']
  ])
  for (const name of namesOf(all, 'postgres', 'redis', 'mysql', 'minio', 'vault').flat()) assert.ok(monitoringSecrets.includes(name), name)
})

test('each Secret holds its secrets under the keys that its pods read, and a made one that keys the checksum', () => {
  const all = settingsWith(({ monitoring }) => { monitoring.alerts.tickets.webhook = true })
  const { alertmanager, exporters, grafana } = holdersOf(all, some('redis', 'postgres'))
  const of = (name: string): string => `<${name}>`
  assert.equal(alertmanager.secret(of), { 'tickets-webhook': '<tickets-webhook>', salt: '<alertmanager-salt>' })
  assert.equal(exporters.secret(of), {
    'postgres.yml': postgresModules(all, '<monitoring-postgres-password>'), 'redis-password': '<redis-password>', salt: '<exporters-salt>'
  })
  assert.equal(grafana.secret(of), { 'admin-password': '<grafana-admin-password>', 'secret-key': '<grafana-secret-key>' })
  for (const holder of [alertmanager, exporters, grafana]) assert.ok(holder.made.length > 0 && holder.namespace === 'monitoring')
})

test('the pods of each component read one Secret, or none', () => {
  const holders = holdersOf(defaultSettings(), none)
  assert.is(readBy(holders, 'prometheus'), holders.exporters)
  assert.equal(readBy(holders, 'blackbox').secret(() => 'x'), {})
})

test('a mail server without a user takes mails without a password', () => {
  const settings = settingsWith(({ monitoring }) => { monitoring.alerts.pages.email = 'ops@keybuzz.io' })
  assert.equal(waysOf(settings), [{ kind: 'pages', by: 'email' }])
})

test.run()
