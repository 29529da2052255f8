import { ingressSources, notOutside } from '../cluster/network.mts'
import { inYaml, resourceValues } from '../cluster/values.mts'
import type { Settings } from '../input/settings.mts'
import { namespaceOf, type App } from './app.mts'
import { isInRegistry, pullSecretsFor } from './values.mts'

/** The port of SMTP that begins with TLS; all others turn to it with STARTTLS (RFC 8314). */
const smtps = 465

/** n8n in queue mode: one main, and webhook processors and workers as the settings say. */
export const n8n = (settings: Settings): App => {
  const { apps: { n8n: own, rollout_timeout: timeout }, backends: { postgres, redis, smtp } } = settings
  const { host, image, runners_image: runnersImage, main, webhook, worker, runner } = own
  const hasMail = smtp.host !== ''
  const login = (user: string, password: string) => ({ DB_POSTGRESDB_USER: user, DB_POSTGRESDB_PASSWORD: password })
  // Main is replaced by its successor; the others have one pod more during a rollout.
  const pods = 1 + (webhook.replicas + 1) + (worker.replicas + 1)
  const every = { IMAGE: image, TIMEOUT: timeout, PULL_SECRETS: pullSecretsFor(settings, image, runnersImage) }
  return {
    name: 'n8n',
    namespace: namespaceOf('n8n'),
    title: 'n8n',
    host,
    isPrivate: [image, runnersImage].some((one) => isInRegistry(settings, one)),
    given: [
      { name: 'n8n-postgres-password', what: `password of PostgreSQL's role ${own.user}` },
      { name: 'redis-password', what: 'password of Redis' },
      ...(hasMail && smtp.user !== '' ? [{ name: 'smtp-password', what: 'password of the mail server' }] : [])
    ],
    made: [
      { name: 'n8n-encryption-key', what: "key that n8n's credentials are encrypted with" },
      { name: 'n8n-runners-token', what: "token between n8n's workers and their runners" }
    ],
    secret: (of) => ({
      N8N_ENCRYPTION_KEY: of('n8n-encryption-key'),
      N8N_RUNNERS_AUTH_TOKEN: of('n8n-runners-token'),
      ...login(own.user, of('n8n-postgres-password')),
      QUEUE_BULL_REDIS_PASSWORD: of('redis-password'),
      ...(hasMail && smtp.user !== '' ? { N8N_SMTP_PASS: of('smtp-password') } : {})
    }),
    login,
    uses: [
      // n8n itself only warns about versions before 17 (@n8n/db: postgres-version-policy.js); with 16 it is still compatible.
      {
        backend: 'postgres', database: own.database, user: own.user, password: 'n8n-postgres-password',
        extensions: [], least: 13, supported: 16, connections: own.pool * pods
      },
      { backend: 'redis', database: own.redis_database, password: 'redis-password', queue: true },
      ...(hasMail ? [{ backend: 'smtp', password: 'smtp-password' } as const] : [])
    ],
    base: [{
      file: 'n8n/base.yaml',
      values: {
        HOST: host, PROXY_HOPS: own.proxy_hops, TIMEZONE: own.timezone,
        POSTGRES_HOST: inYaml(postgres.address), POSTGRES_PORT: postgres.port,
        DATABASE: own.database, POOL: own.pool,
        REDIS_HOST: inYaml(redis.address), REDIS_PORT: redis.port, REDIS_DATABASE: own.redis_database,
        SMTP_HOST: inYaml(smtp.host), SMTP_PORT: smtp.port, SMTP_SSL: String(smtp.port === smtps),
        SMTP_USER: inYaml(smtp.user), SMTP_SENDER: inYaml(smtp.from),
        CONCURRENCY: worker.concurrency, ENVIRONMENT: inYaml(own.environment),
        INGRESS_SOURCES: ingressSources(settings), NOT_OUTSIDE: notOutside
      }
    }],
    turnedOff: [],
    migrations: [],
    // Main first: it prepares the database for its version.
    workloads: [
      { name: 'n8n-main', prepares: 1800, part: { file: 'n8n/main.yaml', values: { ...every, ...resourceValues(main.resources) } } },
      {
        name: 'n8n-webhook',
        part: { file: 'n8n/webhook.yaml', values: { ...every, REPLICAS: webhook.replicas, ...resourceValues(webhook.resources) } }
      },
      {
        name: 'n8n-worker',
        part: {
          file: 'n8n/worker.yaml',
          values: {
            ...every, RUNNERS_IMAGE: runnersImage, REPLICAS: worker.replicas, CONCURRENCY: worker.concurrency,
            ...resourceValues(worker.resources), ...resourceValues(runner.resources, 'RUNNER_')
          }
        }
      }
    ],
    edge: [{ file: 'n8n/edge.yaml', values: { HOST: host } }],
    answer: { path: '/healthz', body: '"status":"ok"' }
  }
}
