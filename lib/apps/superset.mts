import { ingressSources, notOutside } from '../cluster/network.mts'
import { inYaml, resourceValues } from '../cluster/values.mts'
import type { Settings } from '../input/settings.mts'
import { namespaceOf, type App } from './app.mts'
import { isInRegistry, pullSecretsFor } from './values.mts'

/** PostgreSQL connections of a process: SQLAlchemy's own 5 and 10 more for the 20 threads of web; a child of Celery has one thread. */
const ofWeb = 15
const ofCelery = 3

/**
 * Superset: web, worker and, for alerts and reports, beat. The official image has no driver for PostgreSQL: docs/superset.md
 * says how to make one that has.
 */
export const superset = (settings: Settings): App => {
  const { apps: { superset: own, rollout_timeout: timeout }, backends: { postgres, redis, smtp } } = settings
  const { host, image, web, worker, beat } = own
  const container = { IMAGE: image, PULL_SECRETS: pullSecretsFor(settings, image) }
  const login = (user: string, password: string) =>
    ({ DATABASE_URI: `postgresql://${user}:${encodeURIComponent(password)}@${postgres.address}:${postgres.port}/${own.database}` })
  // Only reports are sent by mail.
  const hasMail = beat && smtp.host !== ''
  return {
    name: 'superset',
    namespace: namespaceOf('superset'),
    title: 'Superset',
    host,
    isPrivate: isInRegistry(settings, image),
    given: [
      { name: 'superset-postgres-password', what: `password of PostgreSQL's role ${own.user}` },
      { name: 'redis-password', what: 'password of Redis' },
      { name: 'superset-admin-password', what: `password of Superset's first administrator, ${own.admin}` },
      ...(hasMail && smtp.user !== '' ? [{ name: 'smtp-password', what: 'password of the mail server' }] : [])
    ],
    made: [
      { name: 'superset-secret-key', what: "key of Superset's sessions, and of the passwords in its database" },
      { name: 'superset-guest-token-secret', what: "key of Superset's guest tokens" }
    ],
    secret: (of) => ({
      SUPERSET_SECRET_KEY: of('superset-secret-key'),
      GUEST_TOKEN_JWT_SECRET: of('superset-guest-token-secret'),
      ...login(own.user, of('superset-postgres-password')),
      REDIS_URI: `redis://:${encodeURIComponent(of('redis-password'))}@${redis.address}:${redis.port}/${own.redis_database}`,
      ADMIN_PASSWORD: of('superset-admin-password'),
      ...(hasMail && smtp.user !== '' ? { SMTP_PASSWORD: of('smtp-password') } : {})
    }),
    login,
    uses: [
      {
        backend: 'postgres', database: own.database, user: own.user, password: 'superset-postgres-password',
        extensions: [], least: 13, supported: 13,
        // During a rollout there is one pod more of each. A worker has a process that hands out the queries to the others.
        connections: ofWeb * (web.replicas + 1) + ofCelery * ((worker.concurrency + 1) * (worker.replicas + 1) + (beat ? 1 : 0))
      },
      // Celery's queue is in Redis: a query whose message is evicted would be shown as running for ever.
      { backend: 'redis', database: own.redis_database, password: 'redis-password', queue: true },
      ...(hasMail ? [{ backend: 'smtp', password: 'smtp-password' } as const] : [])
    ],
    base: [
      {
        file: 'superset/base.yaml',
        values: {
          HOST: host, ENVIRONMENT: inYaml({ ...(beat ? reportEnvironment(settings) : {}), ...own.environment }),
          INGRESS_SOURCES: ingressSources(settings), NOT_OUTSIDE: notOutside
        }
      },
      ...(beat ? [{ file: 'superset/reports.yaml', values: {} }] : [])
    ],
    turnedOff: beat ? [] : ['deployment/superset-beat', 'networkpolicy/reports-to-web', 'networkpolicy/web-from-reports'],
    migrations: [{
      part: {
        file: 'superset/migrate.yaml',
        values: {
          ...container, ADMIN: own.admin,
          // Superset makes no user with the e-mail of another.
          ADMIN_EMAIL: own.admin.includes('@') ? own.admin : `${own.admin}@${host}`,
          POSTGRES: `${postgres.address}:${postgres.port}`, DATABASE: own.database
        }
      },
      prefix: 'superset-migrate', step: 'its database prepared for this version', within: 1800,
      // It deadlocks with pods that are at work (apache/superset#33252).
      alone: ['superset-web', 'superset-worker', ...(beat ? ['superset-beat'] : [])]
    }],
    workloads: [
      {
        name: 'superset-web',
        part: {
          file: 'superset/web.yaml',
          values: { ...container, ...resourceValues(web.resources), REPLICAS: web.replicas, CONNECTIONS: ofWeb, TIMEOUT: timeout }
        }
      },
      {
        name: 'superset-worker',
        part: {
          file: 'superset/worker.yaml',
          values: {
            ...container, ...resourceValues(worker.resources), REPLICAS: worker.replicas, CONCURRENCY: worker.concurrency,
            CONNECTIONS: ofCelery, TIMEOUT: timeout
          }
        }
      },
      ...(beat
        ? [{ name: 'superset-beat', part: { file: 'superset/beat.yaml', values: { ...container, CONNECTIONS: ofCelery, TIMEOUT: timeout } } }]
        : [])
    ],
    edge: [{ file: 'superset/edge.yaml', values: { HOST: host } }],
    answer: { path: '/health', body: 'OK' }
  }
}

const reportEnvironment = ({ backends: { smtp }, apps: { superset: { host } } }: Settings): Record<string, string> => ({
  SUPERSET_FEATURE_ALERT_REPORTS: 'true',
  ...(smtp.host === '' ? {} : {
    SMTP_HOST: smtp.host,
    SMTP_PORT: String(smtp.port),
    SMTP_USER: smtp.user,
    SMTP_MAIL_FROM: smtp.from === '' ? `no-reply@${host}` : smtp.from
  })
})
