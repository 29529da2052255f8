import type { Settings } from '../input/settings.mts'
import type { Holder, NamedSecret } from '../secrets/holder.mts'
import type { ComponentName } from './components.mts'
import { postgresModules } from './exporters.mts'
import type { Targets } from './targets.mts'

/** Where everything of the monitoring is, but what runs in the network of the nodes. */
export const namespace = 'monitoring'

/** The kinds of messages, in the order of the settings. */
export const kinds = ['pages', 'tickets'] as const

/** A way that messages of a kind take, and the secret that it needs. */
export type Way = { kind: (typeof kinds)[number]; by: 'webhook' | 'slack' | 'email'; secret?: NamedSecret }

/** The ways that the settings name. */
export const waysOf = ({ monitoring: { alerts }, backends: { smtp } }: Settings): Way[] =>
  kinds.flatMap((kind): Way[] => {
    const { webhook, slack, email } = alerts[kind]
    const password = { name: 'smtp-password', what: 'password of the mail server' }
    return [
      ...(webhook ? [{ kind, by: 'webhook' as const, secret: { name: `${kind}-webhook`, what: `address that gets the ${kind} as JSON` } }] : []),
      ...(slack === '' ? [] : [{ kind, by: 'slack' as const, secret: { name: `${kind}-slack`, what: `address of Slack's webhook for the ${kind}` } }]),
      ...(email === '' ? [] : [{ kind, by: 'email' as const, ...(smtp.user === '' ? {} : { secret: password }) }])
    ]
  })

/** The password of the role with which Grafana logs in to PostgreSQL. */
export const grafanaPassword = 'grafana-postgres-password'

type Key = NamedSecret & { /** In the Secret. */ key: string; /** Makes the value there. Left out: it is the secret itself. */ as?: (secret: string) => string }

/** What Alertmanager reads its addresses and passwords from: files of these names. */
const alertmanager = (settings: Settings): Holder => {
  const ways = waysOf(settings).flatMap(({ secret }) => (secret ? [{ ...secret, key: secret.name }] : []))
  const { watchdog } = settings.monitoring.alerts
  return holder('alertmanager', 'Alertmanager', [
    ...new Map(ways.map((one) => [one.name, one])).values(),
    ...(watchdog ? [{ name: 'watchdog-url', key: 'watchdog-url', what: 'address to call as long as alerts can be sent' }] : [])
  ], [{ name: 'alertmanager-salt', key: 'salt', what: "salt of the checksum at Alertmanager's pods" }])
}

/** What the exporters, and Prometheus itself, log in with. */
const exporters = (settings: Settings, targets: Targets): Holder => {
  const { postgres, mariadb, minio, vault } = settings.monitoring
  const all: (Key & { needed: boolean })[] = [
    {
      needed: targets.postgres.length > 0, key: 'postgres.yml', as: (password) => postgresModules(settings, password),
      name: 'monitoring-postgres-password', what: `password of PostgreSQL's role ${postgres.user}`
    },
    { needed: targets.redis.length > 0, key: 'redis-password', name: 'redis-password', what: 'password of Redis' },
    { needed: targets.mysql.length > 0, key: 'mysql-password', name: 'monitoring-mysql-password', what: `password of MariaDB's user ${mariadb.user}` },
    { needed: minio.token && targets.minio.length > 0, key: 'minio-token', name: 'monitoring-minio-token', what: "token for MinIO's metrics" },
    { needed: vault.token && targets.vault.length > 0, key: 'vault-token', name: 'monitoring-vault-token', what: "token for Vault's metrics" }
  ]
  return holder('exporters', 'the exporters', all.filter(({ needed }) => needed),
    [{ name: 'exporters-salt', key: 'salt', what: "salt of the checksum at the exporters' pods" }])
}

const grafana = ({ monitoring: { grafana: { admin, database, user } } }: Settings): Holder =>
  holder('grafana', 'Grafana', database === '' ? [] : [
    { name: grafanaPassword, key: 'database-password', what: `password of PostgreSQL's role ${user}` }
  ], [
    { name: 'grafana-admin-password', key: 'admin-password', what: `password of Grafana's administrator ${admin}` },
    { name: 'grafana-secret-key', key: 'secret-key', what: 'key of what Grafana encrypts in its database' }
  ])

const holder = (name: string, title: string, given: Key[], made: Key[]): Holder => ({
  name, namespace, title,
  given: given.map((one) => ({ name: one.name, what: one.what })),
  made: made.map((one) => ({ name: one.name, what: one.what })),
  secret: (of) => Object.fromEntries([...given, ...made].map(({ name: secret, key, as = (value) => value }) => [key, as(of(secret))]))
})

type Holders = Record<'alertmanager' | 'exporters' | 'grafana', Holder>

/** Who has secrets in the monitoring: an exporter only where it has something to ask. */
export const holdersOf = (settings: Settings, targets: Targets): Holders => ({
  alertmanager: alertmanager(settings),
  exporters: exporters(settings, targets),
  grafana: grafana(settings)
})

const readers: Partial<Record<ComponentName, keyof Holders>> = {
  'postgres-exporter': 'exporters', 'redis-exporter': 'exporters', 'mysqld-exporter': 'exporters', prometheus: 'exporters',
  alertmanager: 'alertmanager', grafana: 'grafana'
}

/** Whose Secret the pods of a component read. One without secrets where they read none. */
export const readBy = (holders: Holders, component: ComponentName): Holder => {
  const name = readers[component]
  return name ? holders[name] : holder(component, component, [], [])
}

/** The names of all secrets that the monitoring may be given, whatever the settings say: a file may hold them too. */
export const monitoringSecrets = [
  'pages-webhook', 'pages-slack', 'tickets-webhook', 'tickets-slack', 'watchdog-url', 'smtp-password', 'redis-password',
  'monitoring-postgres-password', 'monitoring-mysql-password', 'monitoring-minio-token', 'monitoring-vault-token', grafanaPassword
]
