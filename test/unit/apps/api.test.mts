import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { api } from '../../../lib/apps/api.mts'
import { defaultSettings, type Settings } from '../../../lib/input/settings.mts'
import { all, available, job, one, probed, rendered, restricted, wired } from './rendered.mts'

const settings = defaultSettings()
settings.apps.api.image = 'ghcr.io/keybuzzio/platform-api:1.0.0'

const changed = (own: Partial<Settings['apps']['api']>): Settings =>
  ({ ...settings, apps: { ...settings.apps, api: { ...settings.apps.api, ...own } } })

test('its pods have no right too many, outlive a node, and are probed; the same with a migration', async () => {
  for (const objects of [await rendered(api(settings)), await rendered(api(changed({ migrate: ['npm', 'run', 'migrate'] })))]) {
    restricted(objects)
    available(objects)
    probed(objects)
    wired('api', objects)
  }
})

test('what is no secret is in its ConfigMap, and what is one in its Secret alone', async () => {
  const app = api(changed({ bucket: '0123' }))
  const objects = await rendered(app)
  assert.equal(one(objects, 'ConfigMap', 'api').data, {
    PORT: '8080', NODE_ENV: 'production', PUBLIC_URL: 'https://platform-api.keybuzz.io', FRONT_URL: 'https://platform.keybuzz.io',
    MINIO_ENDPOINT: 'http://10.0.0.134:9000', MINIO_BUCKET: '0123'
  })
  const secret = app.secret((name) => `<${name}>`)
  assert.equal(secret, {
    DATABASE_URL: 'postgresql://keybuzz:%3Capi-postgres-password%3E@10.0.0.10:5432/keybuzz',
    REDIS_URL: 'redis://:%3Credis-password%3E@10.0.0.10:6379/0',
    RABBITMQ_URL: 'amqp://api:%3Capi-rabbitmq-password%3E@10.0.0.10:5672/keybuzz',
    MINIO_ACCESS_KEY: '<api-minio-access-key>',
    MINIO_SECRET_KEY: '<api-minio-secret-key>',
    SECRET_KEY: '<api-secret-key>'
  })
  const [container] = one(objects, 'Deployment', 'api').spec.template.spec.containers
  assert.equal(container?.envFrom, [{ configMapRef: { name: 'api' } }, { configMapRef: { name: 'api-environment' } }, { secretRef: { name: 'api' } }])
})

test('a URL takes a password and a vhost of any characters', () => {
  const { DATABASE_URL = '', RABBITMQ_URL = '' } = api(changed({ vhost: '/keybuzz/prod' })).secret(() => 'a/b@c:d#e%f g?')
  const { username, password, host, pathname } = new URL(DATABASE_URL)
  assert.equal([username, decodeURIComponent(password), host, pathname], ['keybuzz', 'a/b@c:d#e%f g?', '10.0.0.10:5432', '/keybuzz'])
  assert.is(RABBITMQ_URL, 'amqp://api:a%2Fb%40c%3Ad%23e%25f%20g%3F@10.0.0.10:5672/%2Fkeybuzz%2Fprod')
})

test('every secret that it names is given or made', () => {
  const { given, made, uses, secret } = api(settings)
  const names = new Set([...given, ...made].map(({ name }) => name))
  secret((name) => {
    assert.ok(names.has(name), name)
    return name
  })
  const used = uses.flatMap((use) => Object.entries(use).flatMap(([key, value]) => (/password|Key$/.test(key) ? [value] : [])))
  assert.equal(used.filter((name) => !names.has(String(name))), [])
})

test('its connections to PostgreSQL are those of all pods, and of the one more of a rollout', () => {
  const [postgres] = api(changed({ connections: 5, replicas: { least: 3, most: 20, cpu: 70, memory: 80 } })).uses
  assert.is(postgres?.backend === 'postgres' && postgres.connections, 105)
})

test('only the ingress reaches it, and besides the backends it reaches only HTTPS outside', async () => {
  const objects = await rendered(api(changed({ port: 9090 })))
  const policies = all(objects, 'NetworkPolicy').map(({ metadata, spec }) => [metadata.name, ...(spec.ingress ?? spec.egress ?? []).flatMap(({ ports }) => ports)])
  assert.equal(policies, [['from-the-ingress', { protocol: 'TCP', port: 9090 }], ['https-outside', { protocol: 'TCP', port: 443 }]])
})

test('a migration is a Job with the command of the settings; without a command there is none', async () => {
  const migrate = ['sh', '-c', 'echo "${JOB}" $HOME: \'it\'']
  const { spec, metadata } = one(await rendered(api(changed({ migrate }))), 'Job', job)
  assert.equal(spec.template.spec.containers[0]?.command, migrate)
  assert.equal(metadata.labels, { app: 'api-migrate' })
  assert.equal(api(settings).migrations, [])
})

test('its variables reach the ConfigMap as they were written', async () => {
  const environment = { GREETING: 'say "hi"\nto $HOME and ${CHECKSUM}: #1', DEBUG: 'true', TIMES: '0123', EMPTY: '' }
  assert.equal(one(await rendered(api(changed({ environment }))), 'ConfigMap', 'api-environment').data, environment)
})

test.run()
