import { schemeOf } from '../cluster/answers.mts'
import { type Fault, UsageError } from '../base/errors.mts'
import { isUnicast, parseAddress } from '../base/ipv4.mts'
import { closest } from '../base/words.mts'
import type { Machine } from '../input/inventory.mts'
import { vaultUrl, type Settings } from '../input/settings.mts'

/** One address to ask, with the labels that its series get (Prometheus: static_config). */
export type Target = { targets: [string]; labels: Record<string, string> }

/** Jobs whose targets are servers outside the cluster. */
const jobs = ['postgres', 'redis', 'mysql', 'rabbitmq', 'minio', 'vault'] as const
type Job = (typeof jobs)[number]

/** Backends by their key in the settings. `address: ''` there says that there is none: then nothing asks it. */
const backendOf = {
  postgres: 'postgres', redis: 'redis', mysql: 'mariadb', rabbitmq: 'rabbitmq', minio: 'minio', vault: 'vault'
} as const

/** Of ROLE in servers.tsv. A role without a job is known, and is not asked. */
const jobOf: Record<string, Job | ''> = {
  db: 'postgres', redis: 'redis', mariadb: 'mysql', galera: 'mysql', queue: 'rabbitmq', storage: 'minio', vault: 'vault',
  lb: '', monitoring: ''
}

/** What Prometheus asks outside the cluster, by job; `login` is of the job backends too. */
export type Targets = Record<Job | 'servers' | 'backends' | 'login' | 'balancers' | 'apps', Target[]>

const watched = (machines: Machine[], { monitoring: { ignore } }: Settings): Machine[] => machines.filter(({ name }) => !ignore.includes(name))

/** What cannot be a target: an unknown ROLE, an address that is none, a name in `monitoring.ignore` that no row has. */
export const targetFaults = (machines: Machine[], settings: Settings): Fault[] =>
  [...watched(machines, settings).flatMap(faultsOf), ...strangers(machines, settings.monitoring.ignore)]

/**
 * The targets outside the cluster: servers by their ROLE in servers.tsv less `monitoring.ignore`, the addresses in `backends`,
 * the public load balancers, and every enabled application's host through each of them. Throws a UsageError with all that
 * `targetFaults` finds.
 */
export const targetsOf = (machines: Machine[], settings: Settings): Targets => {
  const asked = watched(machines, settings)
  const faults = targetFaults(machines, settings)
  if (faults.length > 0) throw new UsageError(faults)
  const byJob = Object.fromEntries(jobs.map((job) => [job, serversOf(job, asked, settings)])) as Record<Job, Target[]>
  return { ...byJob, servers: servers(asked, settings), ...backends(settings), balancers: balancers(settings), apps: apps(settings) }
}

const faultsOf = ({ name, address, role, line }: Machine): Fault[] => {
  const row = { file: 'servers.tsv', line }
  const ignored = `or add ${name} to monitoring.ignore in settings.yaml.`
  const job = jobOf[role]
  if (job === undefined) {
    const known = Object.keys(jobOf)
    const near = closest(role, known)
    return [{
      ...row, what: 'ROLE', value: role, expected: `one of k3s, ${known.join(', ')}`,
      remedy: `${near ? `Did you mean ${near}?` : 'Nothing is known that could be asked of such a server.'} Correct it, ${ignored}`
    }]
  }
  if (job === '' || isUnicast(parseAddress(address) ?? 0)) return []
  const expected = 'the address at which Prometheus asks it'
  return [{ ...row, what: 'IP_PRIVEE', value: address, expected, remedy: `Fix the column, ${ignored}` }]
}

const strangers = (machines: Machine[], ignore: string[]): Fault[] => {
  const names = machines.map(({ name }) => name)
  return ignore.filter((name) => !names.includes(name)).map((name) => {
    const near = closest(name, names)
    return {
      file: 'settings.yaml', what: 'monitoring.ignore', value: name, expected: 'a HOSTNAME of servers.tsv that is no K3s node',
      remedy: near ? `Did you mean ${near}?` : 'Delete it.'
    }
  })
}

// Servers have their own port here: that of `backends` may be a load balancer's.
const portsOf = ({ monitoring: { postgres, redis, mariadb, rabbitmq, minio, vault } }: Settings): Record<Job, number> => ({
  postgres: postgres.port, redis: redis.port, mysql: mariadb.port, rabbitmq: rabbitmq.metrics_port, minio: minio.port, vault: vault.port
})

const serversOf = (job: Job, machines: Machine[], settings: Settings, own = portsOf(settings)[job]): Target[] => {
  const { address, port } = settings.backends[backendOf[job]]
  if (address === '') return []
  const rows = machines.filter(({ role }) => jobOf[role] === job)
  // MariaDB is in no row of the documented file, only in the settings.
  if (job === 'mysql' && rows.length === 0) return [{ targets: [`${address}:${port}`], labels: { instance: 'mariadb', role: 'mariadb' } }]
  return rows.map((machine) => ({ targets: [`${machine.address}:${own}`], labels: { instance: machine.name, role: machine.role } }))
}

/**
 * The servers once more, where their metrics may be refused while they serve. Whether they take connections tells these two apart.
 * Redis's exporter says why it failed. MariaDB cannot be asked so: see `backends`.
 */
const servers = (machines: Machine[], settings: Settings): Target[] =>
  ([['postgres', portsOf(settings).postgres], ['rabbitmq', settings.monitoring.rabbitmq.port]] as const).flatMap(([job, port]) =>
    serversOf(job, machines, settings, port).map(({ targets, labels: { instance = '' } }) => ({ targets, labels: { instance, backend: job } })))

/**
 * The addresses that applications use. One is asked whether it takes a connection; MariaDB, in `login`, by its exporter: a client
 * that hangs up before it has logged in is counted, and after max_connect_errors (100) nobody on its node is let in any more.
 */
const backends = (settings: Settings): Pick<Targets, 'backends' | 'login'> => {
  const all = (['postgres', 'redis', 'rabbitmq', 'minio', 'mariadb', 'vault'] as const)
    .filter((backend) => settings.backends[backend].address !== '')
    .map((backend) => {
      const { address, port } = settings.backends[backend]
      if (backend !== 'vault') return { targets: [`${address}:${port}`] as [string], labels: { backend } }
      // Only this tells a sealed Vault from one that is down: 503 (Vault's API, sys/health).
      return { targets: [`${vaultUrl(settings)}/v1/sys/health?standbyok=true`] as [string], labels: { backend, __module: 'vault' } }
    })
  const isMariadb = ({ labels: { backend } }: (typeof all)[number]): boolean => backend === 'mariadb'
  return { backends: all.filter((one) => !isMariadb(one)), login: all.filter(isMariadb) }
}

const balancers = ({ load_balancers: { http }, ingress: { health_check: { path, host } } }: Settings): Target[] =>
  http.map((balancer) => ({
    targets: [`http://${balancer}${path}`],
    labels: { balancer, ...(host === '' ? {} : { __param_hostname: host }) }
  }))

/** What answers 200 at the host of each application. */
const pathsOf = ({ apps: { api, front } }: Settings) =>
  ({ api: api.alive, front: front.alive, chatwoot: '/health', n8n: '/healthz', superset: '/health' })

const apps = (settings: Settings): Target[] => {
  const paths = pathsOf(settings)
  const enabled = (Object.keys(paths) as (keyof typeof paths)[]).filter((app) => settings.apps[app].enabled)
  const all = [
    ...enabled.map((app) => ({ app, host: settings.apps[app].host, path: paths[app] })),
    { app: 'grafana', host: settings.monitoring.grafana.host, path: '/api/health' }
  ]
  return all.flatMap(({ app, host, path }) => settings.load_balancers.http.map((balancer) => ({
    targets: [`${schemeOf(settings)}://${balancer}${path}`] as [string],
    labels: { app, balancer, host, __param_hostname: host }
  })))
}
