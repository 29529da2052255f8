import { ingressSources, notOutside } from '../cluster/network.mts'
import { inYaml, resourceValues } from '../cluster/values.mts'
import type { Settings } from '../input/settings.mts'
import { namespaceOf, type App } from './app.mts'
import { isInRegistry, pullSecretsFor } from './values.mts'

/**
 * Chatwoot, with the brand of the settings: web and sidekiq. The image must be a `-ce` one. The plain one sets the brand back
 * to Chatwoot's every day (enterprise/app/services/internal/reconcile_plan_config_service.rb).
 */
export const chatwoot = (settings: Settings): App => {
  const { apps: { chatwoot: own, rollout_timeout: timeout }, backends: { postgres, redis, minio, smtp } } = settings
  const { host, image, web, sidekiq, threads } = own
  const container = { IMAGE: image, PULL_SECRETS: pullSecretsFor(settings, image) }
  const hasMail = smtp.host !== ''
  const login = (user: string, password: string) => ({ POSTGRES_USERNAME: user, POSTGRES_PASSWORD: password })
  return {
    name: 'chatwoot',
    namespace: namespaceOf('chatwoot'),
    title: 'Chatwoot',
    host,
    isPrivate: isInRegistry(settings, image),
    given: [
      { name: 'chatwoot-postgres-password', what: `password of PostgreSQL's role ${own.user}` },
      { name: 'redis-password', what: 'password of Redis' },
      { name: 'chatwoot-minio-access-key', what: `access key of MinIO for the bucket ${own.bucket}` },
      { name: 'chatwoot-minio-secret-key', what: `secret key of MinIO for the bucket ${own.bucket}` },
      ...(hasMail && smtp.user !== '' ? [{ name: 'smtp-password', what: 'password of the mail server' }] : [])
    ],
    made: [
      { name: 'chatwoot-secret-key-base', what: "key of Chatwoot's sessions" },
      { name: 'chatwoot-encryption-primary-key', what: 'key of what Chatwoot encrypts in its database' },
      { name: 'chatwoot-encryption-deterministic-key', what: 'key of what Chatwoot encrypts and searches in its database' },
      { name: 'chatwoot-encryption-salt', what: "salt of Chatwoot's encryption keys" }
    ],
    secret: (of) => ({
      SECRET_KEY_BASE: of('chatwoot-secret-key-base'),
      ACTIVE_RECORD_ENCRYPTION_PRIMARY_KEY: of('chatwoot-encryption-primary-key'),
      ACTIVE_RECORD_ENCRYPTION_DETERMINISTIC_KEY: of('chatwoot-encryption-deterministic-key'),
      ACTIVE_RECORD_ENCRYPTION_KEY_DERIVATION_SALT: of('chatwoot-encryption-salt'),
      ...login(own.user, of('chatwoot-postgres-password')),
      REDIS_PASSWORD: of('redis-password'),
      STORAGE_ACCESS_KEY_ID: of('chatwoot-minio-access-key'),
      STORAGE_SECRET_ACCESS_KEY: of('chatwoot-minio-secret-key'),
      // Ruby's Net::SMTP refuses a password without a user.
      ...(hasMail && smtp.user !== '' ? { SMTP_PASSWORD: of('smtp-password') } : {})
    }),
    login,
    uses: [
      {
        backend: 'postgres', database: own.database, user: own.user, password: 'chatwoot-postgres-password',
        // db/schema.rb. pgvector wants 13; Chatwoot itself is tried with 16.
        extensions: ['pg_stat_statements', 'pg_trgm', 'pgcrypto', 'vector'], least: 13, supported: 16,
        // A pool as large as the threads (config/database.yml). During a rollout there is one pod more of each.
        connections: threads * (web.replicas + 1) + sidekiq.concurrency * (sidekiq.replicas + 1)
      },
      // sidekiq's jobs are in Redis alone: a message whose job is evicted is never sent.
      { backend: 'redis', database: own.redis_database, password: 'redis-password', queue: true },
      { backend: 'minio', bucket: own.bucket, accessKey: 'chatwoot-minio-access-key', secretKey: 'chatwoot-minio-secret-key' },
      ...(hasMail ? [{ backend: 'smtp', password: 'smtp-password' } as const] : [])
    ],
    base: [{
      file: 'chatwoot/base.yaml',
      values: {
        HOST: host, LOCALE: own.locale, THREADS: threads, CONCURRENCY: sidekiq.concurrency,
        POSTGRES_HOST: postgres.address, POSTGRES_PORT: postgres.port, DATABASE: own.database,
        REDIS: `${redis.address}:${redis.port}/${own.redis_database}`,
        MINIO: `${minio.address}:${minio.port}`, BUCKET: own.bucket, REGION: minio.region,
        ENVIRONMENT: inYaml({ ...mailEnvironment(settings), ...own.environment }),
        INGRESS_SOURCES: ingressSources(settings), NOT_OUTSIDE: notOutside
      }
    }],
    turnedOff: [],
    migrations: [
      {
        part: { file: 'chatwoot/prepare.yaml', values: container },
        prefix: 'chatwoot-prepare', step: 'its database prepared for this version', within: 1800, alone: []
      },
      {
        part: { file: 'chatwoot/brand.yaml', values: { ...container, BRAND: inYaml(brandOf(settings)) } },
        prefix: 'chatwoot-brand', step: 'the brand of the settings', within: 300, alone: []
      }
    ],
    workloads: [
      {
        name: 'chatwoot-web',
        part: {
          file: 'chatwoot/web.yaml',
          values: { ...container, ...resourceValues(web.resources), REPLICAS: web.replicas, TIMEOUT: timeout }
        }
      },
      {
        name: 'chatwoot-sidekiq',
        part: {
          file: 'chatwoot/sidekiq.yaml',
          values: { ...container, ...resourceValues(sidekiq.resources), REPLICAS: sidekiq.replicas, TIMEOUT: timeout }
        }
      }
    ],
    edge: [{ file: 'chatwoot/edge.yaml', values: { HOST: host } }],
    // Its status is 200 also without them, so the body must say it (app/controllers/api_controller.rb).
    answer: { path: '/api', body: '"queue_services":"ok","data_services":"ok"' }
  }
}

/** The rows of Chatwoot's installation_configs that settings give a value, as JSON (config/installation_config.yml). */
const brandOf = ({ apps: { chatwoot: { brand } } }: Settings): string => {
  const rows = {
    INSTALLATION_NAME: brand.name, BRAND_NAME: brand.name, BRAND_URL: brand.url, WIDGET_BRAND_URL: brand.url,
    TERMS_URL: brand.terms, PRIVACY_URL: brand.privacy,
    LOGO: brand.logo, LOGO_DARK: brand.logo_dark, LOGO_THUMBNAIL: brand.thumbnail,
    // Chatwoot's own icons for browsers and phones, its name for them, and word of its new versions.
    DISPLAY_MANIFEST: false
  }
  const given = Object.fromEntries(Object.entries(rows).filter(([, value]) => value !== ''))
  // Kubernetes would replace $(NAME) in the value of a variable.
  return JSON.stringify(given).replaceAll('$', '\\u0024')
}

const mailEnvironment = ({ backends: { smtp }, apps: { chatwoot: { host, brand } } }: Settings): Record<string, string> =>
  smtp.host === '' ? {} : {
    MAILER_SENDER_EMAIL: `"${brand.name}" <${smtp.from === '' ? `no-reply@${host}` : smtp.from}>`,
    SMTP_ADDRESS: smtp.host,
    SMTP_PORT: String(smtp.port),
    SMTP_DOMAIN: host,
    ...(smtp.user === '' ? {} : { SMTP_USERNAME: smtp.user, SMTP_AUTHENTICATION: 'plain' }),
    // 465 speaks TLS from its first byte, and Ruby's mail takes only one of the two.
    ...(smtp.port === 465 ? { SMTP_TLS: 'true' } : {}),
    // A relay of the private network needs no password, and mostly has no certificate.
    ...(smtp.port === 465 || (smtp.user === '' && smtp.port !== 587) ? { SMTP_ENABLE_STARTTLS_AUTO: 'false' } : {})
  }
