import { contains, formatCidr, parseAddress } from '../../base/ipv4.mts'
import type { Settings } from '../schema.mts'
import { type Path, pathText, valueAt } from '../yaml.mts'
import { CLUSTER, type Conflict, networkOf, PRIVATE, SERVICE } from './conflict.mts'

/** The sections below a path that have a key of that name. */
const sectionsWith = (key: string, settings: Settings, path: Path = []): Path[] => {
  const value = valueAt(settings, path)
  if (typeof value !== 'object' || value === null) return []
  return [...(key in value ? [path] : []), ...Object.keys(value).flatMap((name) => sectionsWith(key, settings, [...path, name]))]
}

/** In every section that has the two, `most` must not be less than `least`. */
const inOrder = (settings: Settings, least: string, most: string): Conflict[] =>
  sectionsWith(most, settings)
    .map((path): [Path, Path] => [[...path, least], [...path, most]])
    .filter(([low, high]) => Number(valueAt(settings, high)) < Number(valueAt(settings, low)))
    .map(([low, high]) => ({
      path: high, uses: [low, high],
      expected: `at least the ${valueAt(settings, low)} of ${pathText(low)}`, remedy: 'Raise it, or lower the other.'
    }))

/** The paths of a key of the enabled applications. */
const ofEnabled = (settings: Settings, key: string): Path[] =>
  sectionsWith('enabled', settings)
    .filter((path) => valueAt(settings, [...path, 'enabled']) === true && valueAt(settings, [...path, key]) !== undefined)
    .map((path) => [...path, key])

/** No two of the paths may have the same value. `what` completes "expected ... of its own". */
const eachItsOwn = (settings: Settings, what: string, paths: Path[]): Conflict[] =>
  paths.flatMap((path, index) => {
    const first = paths.slice(0, index).find((other) => valueAt(settings, other) === valueAt(settings, path))
    if (first === undefined) return []
    return [{
      path, uses: [first, path, ...[first, path].map((at) => [...at.slice(0, -1), 'enabled'])],
      expected: `${what} of its own, and ${pathText(first)} is the same`, remedy: 'Choose another for one of the two.'
    }]
  })

const GRAFANA_HOST: Path = ['monitoring', 'grafana', 'host']
const GRAFANA_DATABASE: Path = ['monitoring', 'grafana', 'database']

const sharing = (settings: Settings): Conflict[] => [
  // The health check answers all requests for its host.
  ...eachItsOwn(settings, 'a host', [
    ...(settings.ingress.health_check.host === '' ? [] : [['ingress', 'health_check', 'host']]), ...ofEnabled(settings, 'host'), GRAFANA_HOST
  ]),
  ...eachItsOwn(settings, 'a PostgreSQL database', [
    ...ofEnabled(settings, 'database'), ...(settings.monitoring.grafana.database === '' ? [] : [GRAFANA_DATABASE])
  ]),
  // Queues and caches of two applications in one database would empty and evict each other's keys.
  ...eachItsOwn(settings, 'a Redis database', ofEnabled(settings, 'redis_database')),
  ...eachItsOwn(settings, 'a bucket', ofEnabled(settings, 'bucket'))
]

const tagOf = (image: string): string => image.replace(/@.*/, '').split(':').at(-1)!

/** n8n's documentation asks for the same tag: its broker speaks one version with its runners. */
const runnersOfAnotherRelease = ({ apps: { n8n } }: Settings): Conflict[] => {
  if (tagOf(n8n.runners_image) === tagOf(n8n.image)) return []
  return [{
    path: ['apps', 'n8n', 'runners_image'], uses: [['apps', 'n8n', 'image'], ['apps', 'n8n', 'runners_image']],
    expected: `the tag ${tagOf(n8n.image)} of apps.n8n.image`, remedy: 'Name the same release of both.'
  }]
}

/** The sentence of the module that the project follows. */
const NEVER = 'Never Postgres, Redis, RabbitMQ or MinIO in K3s: they run in Docker on dedicated nodes; ' +
  'K3s manages stateless applications only.'

const backendsInside = (settings: Settings): Conflict[] =>
  (['postgres', 'redis', 'rabbitmq', 'minio', 'mariadb', 'vault'] as const).flatMap((name) => {
    const isIn = (path: Path): boolean => contains(networkOf(settings, path), parseAddress(settings.backends[name].address) ?? 0)
    return [CLUSTER, SERVICE]
      .filter((path) => isIn(path) && !isIn(PRIVATE)) // else the two networks overlap, which is told once
      .map((path) => ({
        path: ['backends', name, 'address'], uses: [path, ['backends', name, 'address']],
        expected: `an address outside ${pathText(path)} ${formatCidr(networkOf(settings, path))}`, remedy: NEVER
      }))
  })

/** What does not fit together of the applications and their backends. */
export const appConflicts = (settings: Settings): Conflict[] => [
  ...inOrder(settings, 'least', 'most'),
  ...inOrder(settings, 'memory', 'most_memory'),
  ...inOrder(settings, 'hours', 'most_hours'),
  ...sharing(settings),
  ...runnersOfAnotherRelease(settings),
  ...backendsInside(settings)
]
