import { ingressSources, notOutside } from '../cluster/network.mts'
import { inYaml, resourceValues } from '../cluster/values.mts'
import type { Settings } from '../input/settings.mts'
import { namespaceOf, type App } from './app.mts'
import { pullSecrets } from './values.mts'

/**
 * KeyBuzz API. Its image gets its backends in DATABASE_URL, REDIS_URL, RABBITMQ_URL and MINIO_*, and must run as any user,
 * with a read-only root.
 */
export const api = (settings: Settings): App => {
  const { apps: { api: own, front, rollout_timeout: timeout }, backends: { postgres, redis, rabbitmq, minio } } = settings
  const { host, port, resources, replicas } = own
  const image = own.image || '<API_IMAGE>' // only a runbook goes on without one
  const login = (user: string, password: string) =>
    ({ DATABASE_URL: `postgresql://${user}:${encodeURIComponent(password)}@${postgres.address}:${postgres.port}/${own.database}` })
  const container = { IMAGE: image, PULL_SECRETS: pullSecrets(settings), ...resourceValues(resources) }
  return {
    name: 'api',
    namespace: namespaceOf('api'),
    title: 'KeyBuzz API',
    host,
    isPrivate: true,
    given: [
      { name: 'api-postgres-password', what: `password of PostgreSQL's role ${own.user}` },
      { name: 'redis-password', what: 'password of Redis' },
      { name: 'api-rabbitmq-password', what: "password of RabbitMQ's user api" },
      { name: 'api-minio-access-key', what: `access key of MinIO for the bucket ${own.bucket}` },
      { name: 'api-minio-secret-key', what: `secret key of MinIO for the bucket ${own.bucket}` }
    ],
    made: [{ name: 'api-secret-key', what: "key of the API's sessions" }],
    secret: (of) => ({
      ...login(own.user, of('api-postgres-password')),
      REDIS_URL: `redis://:${encodeURIComponent(of('redis-password'))}@${redis.address}:${redis.port}/${own.redis_database}`,
      RABBITMQ_URL: `amqp://api:${encodeURIComponent(of('api-rabbitmq-password'))}@${rabbitmq.address}:${rabbitmq.port}/${encodeURIComponent(own.vhost)}`,
      MINIO_ACCESS_KEY: of('api-minio-access-key'),
      MINIO_SECRET_KEY: of('api-minio-secret-key'),
      SECRET_KEY: of('api-secret-key')
    }),
    login,
    uses: [
      {
        backend: 'postgres', database: own.database, user: own.user, password: 'api-postgres-password',
        extensions: [], least: 13, supported: 13, connections: own.connections * (replicas.most + 1)
      },
      { backend: 'redis', database: own.redis_database, password: 'redis-password', queue: false },
      { backend: 'rabbitmq', vhost: own.vhost, user: 'api', password: 'api-rabbitmq-password' },
      { backend: 'minio', bucket: own.bucket, accessKey: 'api-minio-access-key', secretKey: 'api-minio-secret-key' }
    ],
    base: [{
      file: 'api/base.yaml',
      values: {
        HOST: host, PORT: port, FRONT_HOST: front.host, MINIO: `${minio.address}:${minio.port}`, BUCKET: own.bucket,
        ENVIRONMENT: inYaml(own.environment), INGRESS_SOURCES: ingressSources(settings), NOT_OUTSIDE: notOutside
      }
    }],
    turnedOff: [],
    migrations: own.migrate.length === 0 ? [] : [{
      part: { file: 'api/migrate.yaml', values: { ...container, COMMAND: inYaml(own.migrate), POSTGRES: `${postgres.address}:${postgres.port}`, DATABASE: own.database } },
      prefix: 'api-migrate', step: 'its database prepared for this version', within: 600, alone: []
    }],
    workloads: [{
      name: 'api',
      part: { file: 'api/deployment.yaml', values: { ...container, COMMAND: inYaml(own.command), PORT: port, ALIVE: own.alive, READY: own.ready, TIMEOUT: timeout } }
    }],
    edge: [{
      file: 'api/edge.yaml',
      values: { HOST: host, LEAST: replicas.least, MOST: replicas.most, CPU_TARGET: replicas.cpu, MEMORY_TARGET: replicas.memory }
    }],
    answer: { path: own.alive, body: '' }
  }
}
