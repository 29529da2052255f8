import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { chatwoot } from '../../../lib/apps/chatwoot.mts'
import { defaultSettings, type Settings } from '../../../lib/input/settings.mts'
import { all, available, type Container, job, type Made, one, probed, rendered, restricted, wired } from './rendered.mts'

type Own = Settings['apps']['chatwoot']

const settings = defaultSettings()

const changed = (own: Partial<Own>, smtp: Partial<Settings['backends']['smtp']> = {}, apps: Partial<Settings['apps']> = {}): Settings => ({
  ...settings,
  apps: { ...settings.apps, ...apps, chatwoot: { ...settings.apps.chatwoot, ...own } },
  backends: { ...settings.backends, smtp: { ...settings.backends.smtp, ...smtp } }
})

const withMail = { host: 'mail.example.com', port: 587, user: 'keybuzz', from: 'help@keybuzz.io' }

const containerOf = (objects: Made[], kind: string, name: string): Container => one(objects, kind, name).spec.template.spec.containers[0]!

// Both Jobs have the same name here.
const jobOf = (objects: Made[], app: string): Container =>
  all(objects, 'Job').find(({ metadata: { labels } }) => labels?.['app'] === app)!.spec.template.spec.containers[0]!

const brandIn = (objects: Made[]): string => jobOf(objects, 'chatwoot-brand').env?.find(({ name }) => name === 'BRAND')?.value ?? ''

const odd = changed({
  image: 'registry.example.com/chatwoot/chatwoot:v4.15.1-ce', locale: 'no', database: 'null', user: 'true', bucket: '2024', threads: 7,
  web: { replicas: 5, resources: { cpus: 0.05, memory: 100, most_memory: 200 } },
  sidekiq: { replicas: 4, concurrency: 3, resources: { cpus: 2, memory: 300, most_memory: 400 } },
  environment: { LOG_LEVEL: 'debug', NOTE: 'say "hi"\nto $HOME and ${JOB}: #1', TIMES: '0123' }
}, withMail, { registry: { server: 'registry.example.com', user: 'robot' } })

test('its pods have no right too many, outlive a node, and are probed', async () => {
  for (const objects of [await rendered(chatwoot(settings)), await rendered(chatwoot(odd))]) {
    restricted(objects)
    available(objects)
    probed(objects)
    wired('chatwoot', objects)
  }
})

test('it is started as the image does not start it, as a user that the image does not have', async () => {
  const objects = await rendered(chatwoot(settings))
  assert.equal(containerOf(objects, 'Deployment', 'chatwoot-web').command,
    ['sh', '-c', 'mkdir -pm 700 /tmp/ruby && rm -f tmp/pids/server.pid && exec bundle exec rails s -p 3000 -b 0.0.0.0'])
  assert.equal(containerOf(objects, 'Deployment', 'chatwoot-sidekiq').command, ['sh', '-c', 'mkdir -pm 700 /tmp/ruby && exec bundle exec sidekiq -C config/sidekiq.yml'])
  assert.equal(jobOf(objects, 'chatwoot-prepare').command, ['sh', '-c', 'mkdir -pm 700 /tmp/ruby && exec bundle exec rails db:chatwoot_prepare'])
  assert.equal(jobOf(objects, 'chatwoot-brand').command, ['sh', '-c', 'mkdir -pm 700 /tmp/ruby && exec bundle exec rails runner /ruby/brand.rb'])
  for (const made of all(objects, 'Deployment', 'Job')) {
    const { securityContext, containers: [container] } = made.spec.template.spec
    assert.is(securityContext?.['runAsUser'], 1000)
    const mounts = JSON.stringify(container)
    for (const path of ['/tmp', '/app/tmp']) assert.ok(mounts.includes(`"mountPath":"${path}"`), `${made.metadata.name} ${path}`)
  }
  const { HOME, TMPDIR } = one(objects, 'ConfigMap', 'chatwoot').data ?? {}
  assert.equal([HOME, TMPDIR], ['/tmp', '/tmp/ruby'])
})

test('web is asked for /health, never for /, and sidekiq whether it takes jobs', async () => {
  const objects = await rendered(chatwoot(settings))
  const probes = (name: string): unknown[] => {
    const { startupProbe, livenessProbe, readinessProbe } = containerOf(objects, 'Deployment', name)
    return [startupProbe, livenessProbe, readinessProbe].map((probe) => probe?.httpGet)
  }
  assert.equal(probes('chatwoot-web'), Array(3).fill({ path: '/health', port: 'http' }))
  assert.equal(probes('chatwoot-sidekiq'), Array(3).fill({ path: '/', port: 'alive' }))
  assert.equal(containerOf(objects, 'Deployment', 'chatwoot-sidekiq').ports, [{ name: 'alive', containerPort: 7433 }])
})

test('first the database is prepared, then the brand is written, and the version that serves goes on', async () => {
  const { migrations } = chatwoot(settings)
  assert.equal(migrations.map(({ prefix, step, alone }) => [prefix, step, alone]), [
    ['chatwoot-prepare', 'its database prepared for this version', []],
    ['chatwoot-brand', 'the brand of the settings', []]
  ])
  const objects = await rendered(chatwoot(settings))
  assert.equal(all(objects, 'Job').map(({ metadata: { name, labels } }) => [name, labels?.['app']]),
    [[job, 'chatwoot-prepare'], [job, 'chatwoot-brand']])
  const deadlines = all(objects, 'Job').map(({ spec }) => (spec as unknown as { activeDeadlineSeconds: number }).activeDeadlineSeconds)
  assert.equal(deadlines, migrations.map(({ within }) => within))
  assert.equal(jobOf(objects, 'chatwoot-prepare').env, [{ name: 'POSTGRES_STATEMENT_TIMEOUT', value: '600s' }])
})

test('the brand has what settings give, and nothing else', async () => {
  assert.equal(JSON.parse(brandIn(await rendered(chatwoot(settings)))), {
    INSTALLATION_NAME: 'KeyBuzz', BRAND_NAME: 'KeyBuzz', BRAND_URL: 'https://keybuzz.io', WIDGET_BRAND_URL: 'https://keybuzz.io',
    DISPLAY_MANIFEST: false
  })
  const brand = {
    name: "Café $(SECRET_KEY_BASE) ${JOB} #{exit} & Co: 50 %", url: 'https://a.example', terms: 'https://a.example/t?a=b#c',
    privacy: 'https://a.example/p', logo: 'https://a.example/l.svg', logo_dark: 'https://a.example/d.svg', thumbnail: 'https://a.example/t.png'
  }
  const text = brandIn(await rendered(chatwoot(changed({ brand }))))
  assert.not.match(text, /\$/)
  assert.equal(JSON.parse(text), {
    INSTALLATION_NAME: brand.name, BRAND_NAME: brand.name, BRAND_URL: brand.url, WIDGET_BRAND_URL: brand.url,
    TERMS_URL: brand.terms, PRIVACY_URL: brand.privacy, LOGO: brand.logo, LOGO_DARK: brand.logo_dark, LOGO_THUMBNAIL: brand.thumbnail,
    DISPLAY_MANIFEST: false
  })
})

test('the script of the brand takes its values from the environment alone, and writes through the model', async () => {
  const script = one(await rendered(chatwoot(settings)), 'ConfigMap', 'chatwoot-ruby').data?.['brand.rb'] ?? ''
  assert.match(script, "JSON.parse(ENV.fetch('BRAND'))")
  assert.match(script, 'InstallationConfig.find_or_initialize_by(name: name)')
  assert.match(script, 'row.save!')
  assert.not.match(script, 'KeyBuzz')
})

test('its configuration', async () => {
  const objects = await rendered(chatwoot(settings))
  assert.equal(one(objects, 'ConfigMap', 'chatwoot').data, {
    RAILS_ENV: 'production', NODE_ENV: 'production', INSTALLATION_ENV: 'kubernetes', RAILS_LOG_TO_STDOUT: 'true',
    RAILS_SERVE_STATIC_FILES: 'true', LOG_LEVEL: 'info', HOME: '/tmp', TMPDIR: '/tmp/ruby', FRONTEND_URL: 'https://support.keybuzz.io',
    DEFAULT_LOCALE: 'fr', ENABLE_ACCOUNT_SIGNUP: 'false', WEB_CONCURRENCY: '0', RAILS_MAX_THREADS: '5', SIDEKIQ_CONCURRENCY: '10',
    POSTGRES_HOST: '10.0.0.10', POSTGRES_PORT: '5432', POSTGRES_DATABASE: 'chatwoot',
    REDIS_URL: 'redis://10.0.0.10:6379/1', ACTIVE_STORAGE_SERVICE: 's3_compatible', STORAGE_ENDPOINT: 'http://10.0.0.134:9000',
    STORAGE_BUCKET_NAME: 'chatwoot', STORAGE_REGION: 'us-east-1', STORAGE_FORCE_PATH_STYLE: 'true'
  })
  assert.equal(one(objects, 'ConfigMap', 'chatwoot-environment').data, {})
})

test('settings of every kind reach the objects as they were written', async () => {
  const objects = await rendered(chatwoot(odd))
  const data = one(objects, 'ConfigMap', 'chatwoot').data ?? {}
  assert.equal(['DEFAULT_LOCALE', 'POSTGRES_DATABASE', 'STORAGE_BUCKET_NAME'].map((name) => data[name]),
    ['no', 'null', '2024'])
  const environment = one(objects, 'ConfigMap', 'chatwoot-environment').data ?? {}
  for (const [name, value] of Object.entries(odd.apps.chatwoot.environment)) assert.is(environment[name], value)
  for (const [name, replicas, memory] of [['chatwoot-web', 5, '200Mi'], ['chatwoot-sidekiq', 4, '400Mi']] as const) {
    const { spec } = one(objects, 'Deployment', name)
    assert.is(spec.replicas, replicas)
    assert.is(spec.template.spec.containers[0]?.resources?.limits?.['memory'], memory)
  }
  // The settings' resources are no reason to prepare the database again.
  assert.equal(jobOf(objects, 'chatwoot-prepare').resources, jobOf(await rendered(chatwoot(settings)), 'chatwoot-prepare').resources)
})

test('its image is pulled with a password only from the private registry', async () => {
  const pulls = async (of: Settings): Promise<unknown[]> =>
    all(await rendered(chatwoot(of)), 'Deployment', 'Job').map((made) => made.spec.template.spec.imagePullSecrets)
  assert.is(chatwoot(odd).isPrivate, true)
  assert.equal(await pulls(odd), Array(4).fill([{ name: 'registry' }]))
  const public_ = changed({}, {}, { registry: { server: 'ghcr.io', user: 'robot' } })
  assert.is(chatwoot(public_).isPrivate, false)
  assert.equal(await pulls(public_), Array(4).fill([]))
})

test('what it has as secrets is in its Secret and nowhere else', async () => {
  const app = chatwoot(changed({}, withMail))
  const secret = app.secret((name) => `value-of-${name}`)
  assert.equal(secret, {
    SECRET_KEY_BASE: 'value-of-chatwoot-secret-key-base',
    ACTIVE_RECORD_ENCRYPTION_PRIMARY_KEY: 'value-of-chatwoot-encryption-primary-key',
    ACTIVE_RECORD_ENCRYPTION_DETERMINISTIC_KEY: 'value-of-chatwoot-encryption-deterministic-key',
    ACTIVE_RECORD_ENCRYPTION_KEY_DERIVATION_SALT: 'value-of-chatwoot-encryption-salt',
    POSTGRES_USERNAME: 'chatwoot',
    POSTGRES_PASSWORD: 'value-of-chatwoot-postgres-password',
    REDIS_PASSWORD: 'value-of-redis-password',
    STORAGE_ACCESS_KEY_ID: 'value-of-chatwoot-minio-access-key',
    STORAGE_SECRET_ACCESS_KEY: 'value-of-chatwoot-minio-secret-key',
    SMTP_PASSWORD: 'value-of-smtp-password'
  })
  assert.equal([...app.given, ...app.made].map(({ name }) => `value-of-${name}`).toSorted(), Object.values(secret).filter((value) => value !== 'chatwoot').toSorted())
  const environment = Object.keys(Object.assign({}, ...all(await rendered(app), 'ConfigMap').map(({ data }) => data)) as object)
  assert.equal(environment.filter((name) => name in secret), [])
})

test('it sends mail only where settings have a mail server, and logs in only where they have a user', async () => {
  const of = async (smtp: Partial<Settings['backends']['smtp']>) => {
    const app = chatwoot(changed({}, smtp))
    return {
      environment: one(await rendered(app), 'ConfigMap', 'chatwoot-environment').data,
      uses: app.uses.some(({ backend }) => backend === 'smtp'), password: app.secret(String)['SMTP_PASSWORD'],
      asks: app.given.some(({ name }) => name === 'smtp-password')
    }
  }
  assert.equal(await of({}), { environment: {}, uses: false, password: undefined, asks: false })
  assert.equal(await of(withMail), {
    environment: {
      MAILER_SENDER_EMAIL: '"KeyBuzz" <help@keybuzz.io>', SMTP_ADDRESS: 'mail.example.com', SMTP_PORT: '587',
      SMTP_DOMAIN: 'support.keybuzz.io', SMTP_USERNAME: 'keybuzz', SMTP_AUTHENTICATION: 'plain'
    },
    uses: true, password: 'smtp-password', asks: true
  })
  assert.equal(await of({ host: '10.0.0.25', port: 465 }), {
    environment: {
      MAILER_SENDER_EMAIL: '"KeyBuzz" <no-reply@support.keybuzz.io>', SMTP_ADDRESS: '10.0.0.25', SMTP_PORT: '465',
      SMTP_DOMAIN: 'support.keybuzz.io', SMTP_TLS: 'true', SMTP_ENABLE_STARTTLS_AUTO: 'false'
    },
    uses: true, password: undefined, asks: false
  })
  const starttls = async (port: number, user: string) => (await of({ host: '10.0.0.25', port, user })).environment?.['SMTP_ENABLE_STARTTLS_AUTO']
  assert.equal([await starttls(25, ''), await starttls(25, 'keybuzz'), await starttls(587, '')], ['false', undefined, undefined])
})

test('what it needs of the backends', () => {
  assert.equal(chatwoot(settings).uses, [
    {
      backend: 'postgres', database: 'chatwoot', user: 'chatwoot', password: 'chatwoot-postgres-password',
      extensions: ['pg_stat_statements', 'pg_trgm', 'pgcrypto', 'vector'], least: 13, supported: 16, connections: 5 * 3 + 10 * 3
    },
    { backend: 'redis', database: 1, password: 'redis-password', queue: true },
    { backend: 'minio', bucket: 'chatwoot', accessKey: 'chatwoot-minio-access-key', secretKey: 'chatwoot-minio-secret-key' }
  ])
  const [postgres] = chatwoot(odd).uses
  assert.is(postgres?.backend === 'postgres' && postgres.connections, 7 * 6 + 3 * 5)
})

test('only the ingress reaches web, nothing reaches sidekiq, and both reach only HTTPS outside', async () => {
  const policies = all(await rendered(chatwoot(settings)), 'NetworkPolicy').map(({ metadata, spec }) =>
    [metadata.name, JSON.stringify(spec.podSelector), ...(spec.ingress ?? spec.egress ?? []).flatMap(({ ports }) => ports)])
  assert.equal(policies, [
    ['from-the-ingress', '{"matchLabels":{"app":"chatwoot-web"}}', { protocol: 'TCP', port: 3000 }],
    ['https-outside', '{"matchExpressions":[{"key":"app","operator":"In","values":["chatwoot-web","chatwoot-sidekiq"]}]}',
      { protocol: 'TCP', port: 443 }]
  ])
})

test('nginx upgrades the chat, keeps it open, and tells Rails that the client came by https', async () => {
  const app = chatwoot(changed({ host: 'help.example.com' }))
  const { metadata, spec } = one(await rendered(app), 'Ingress', 'chatwoot')
  assert.equal(metadata.annotations, {
    'nginx.org/redirect-to-https': 'true', 'nginx.org/websocket-services': 'chatwoot-web',
    'nginx.org/proxy-read-timeout': '3600s', 'nginx.org/proxy-send-timeout': '3600s', 'nginx.org/client-max-body-size': '50m'
  })
  assert.equal(spec.rules?.map(({ host }) => host), ['help.example.com'])
  assert.equal([app.host, app.answer], ['help.example.com', { path: '/api', body: '"queue_services":"ok","data_services":"ok"' }])
})

test.run()
