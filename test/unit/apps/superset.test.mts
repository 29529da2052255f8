import { execFileSync } from 'node:child_process'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { superset } from '../../../lib/apps/superset.mts'
import { defaultSettings, type Settings } from '../../../lib/input/settings.mts'
import { all, available, type Container, type Made, one, probed, rendered, restricted, wired } from './rendered.mts'

const settings = defaultSettings()

const changed = (own: Partial<Settings['apps']['superset']>, smtp: Partial<Settings['backends']['smtp']> = {}, apps: Partial<Settings['apps']> = {}): Settings => ({
  ...settings,
  apps: { ...settings.apps, ...apps, superset: { ...settings.apps.superset, ...own } },
  backends: { ...settings.backends, smtp: { ...settings.backends.smtp, ...smtp } }
})

const withBeat = changed({ beat: true }, { host: 'mail.example.com', port: 587, user: 'keybuzz', from: 'reports@keybuzz.io' })

const odd = changed({
  image: 'registry.example.com/keybuzz/superset:6.1.0-1', host: 'bi.example.com', beat: true, database: 'null', user: 'true', admin: '-007',
  web: { replicas: 3, resources: { cpus: 0.05, memory: 100, most_memory: 200 } },
  worker: { replicas: 4, concurrency: 9, resources: { cpus: 2, memory: 300, most_memory: 400 } },
  environment: { SUPERSET_FEATURE_ALERT_REPORTS: 'false', NOTE: 'say "hi"\nto $HOME and ${JOB}: #1' }
}, {}, { registry: { server: 'registry.example.com', user: 'robot' } })

const containerOf = (objects: Made[], name: string): Container => one(objects, 'Deployment', name).spec.template.spec.containers[0]!
const migrationOf = (objects: Made[]): Container => all(objects, 'Job')[0]!.spec.template.spec.containers[0]!

test('its pods have no right too many, outlive a node, and are probed', async () => {
  for (const objects of [await rendered(superset(settings)), await rendered(superset(withBeat)), await rendered(superset(odd))]) {
    restricted(objects)
    available(objects, ['superset-beat'])
    // The worker serves nobody, so it has no readiness of its own; nothing can be asked of beat.
    probed(objects, ['worker', 'beat'])
    wired('superset', objects)
  }
})

test('beat is there only when settings say so, and so is what only reports need', async () => {
  const names = async (of: Settings): Promise<string[]> =>
    all(await rendered(superset(of)), 'Deployment', 'NetworkPolicy').map(({ metadata: { name } }) => name)
  assert.equal(await names(settings), ['from-the-ingress', 'https-outside', 'superset-web', 'superset-worker'])
  assert.equal(await names(withBeat),
    ['from-the-ingress', 'https-outside', 'reports-to-web', 'web-from-reports', 'superset-web', 'superset-worker', 'superset-beat'])
})

test('what beat brings goes where settings turn it off', async () => {
  const named = async (of: Settings): Promise<string[]> =>
    (await rendered(superset(of))).filter(({ kind }) => kind !== 'ConfigMap' && kind !== 'Job').map(({ kind, metadata: { name } }) => `${kind.toLowerCase()}/${name}`)
  const without = await named(settings)
  const more = (await named(withBeat)).filter((one) => !without.includes(one))
  assert.equal(superset(settings).turnedOff.toSorted(), more.toSorted())
  assert.equal(superset(withBeat).turnedOff, [])
})

test('its database is migrated while none of its pods is at work, and the administrator is made', async () => {
  const alone = (of: Settings): string[][] => superset(of).migrations.map((migration) => migration.alone)
  assert.equal(alone(settings), [['superset-web', 'superset-worker']])
  assert.equal(alone(withBeat), [['superset-web', 'superset-worker', 'superset-beat']])
  const { command, env, resources } = migrationOf(await rendered(superset(odd)))
  assert.equal(command?.slice(0, 2), ['sh', '-ec'])
  assert.equal(command?.[2]?.trim().split('\n').filter((line) => !line.startsWith('#')).map((line) => line.split(' ').slice(0, 3).join(' ')),
    ['superset db upgrade', 'superset init', 'export FLASK_FAB_CREATE_ADMIN_PASSWORD="$ADMIN_PASSWORD"', 'superset fab create-admin'])
  assert.equal(env, [
    { name: 'ADMIN', value: '-007' }, { name: 'ADMIN_EMAIL', value: '-007@bi.example.com' }
  ])
  assert.equal(migrationOf(await rendered(superset(changed({ admin: 'ops@keybuzz.io' })))).env?.map(({ value }) => value), ['ops@keybuzz.io', 'ops@keybuzz.io'])
  assert.equal(resources?.requests, { cpu: '250m', memory: '1Gi' })
})

test('its processes have their commands', async () => {
  const objects = await rendered(superset(odd))
  const celery = ['celery', '--app=superset.tasks.celery_app:app']
  assert.is(containerOf(objects, 'superset-web').command?.join(' '),
    'gunicorn --bind=0.0.0.0:8088 --workers=1 --worker-class=gthread --threads=20 --timeout=120 --access-logfile=- superset.app:create_app()')
  assert.equal(containerOf(objects, 'superset-worker').command, [...celery, 'worker', '--pool=prefork', '-O', 'fair', '--concurrency=9'])
  assert.equal(containerOf(objects, 'superset-beat').command,
    [...celery, 'beat', '--pidfile=/tmp/celerybeat.pid', '--schedule=/tmp/celerybeat-schedule'])
  const alive = { command: ['python', '/app/pythonpath/alive.py'] }
  const { startupProbe, livenessProbe } = containerOf(objects, 'superset-worker')
  assert.equal([startupProbe?.exec, livenessProbe?.exec], [alive, alive])
  assert.is(containerOf(objects, 'superset-web').livenessProbe?.httpGet?.path, '/health')
})

test('settings of every kind reach the objects as they were written', async () => {
  const objects = await rendered(superset(odd))
  assert.equal(one(objects, 'ConfigMap', 'superset-environment').data, odd.apps.superset.environment)
  assert.is(one(objects, 'ConfigMap', 'superset').data?.['PUBLIC_URL'], 'https://bi.example.com')
  assert.equal(['superset-web', 'superset-worker'].map((name) => [one(objects, 'Deployment', name).spec.replicas, containerOf(objects, name).resources]), [
    [3, { requests: { cpu: 0.05, memory: '100Mi' }, limits: { memory: '200Mi' } }],
    [4, { requests: { cpu: 2, memory: '300Mi' }, limits: { memory: '400Mi' } }]
  ])
  const pulls = (made: Made[]): unknown[] => all(made, 'Deployment', 'Job').map(({ spec }) => spec.template.spec.imagePullSecrets)
  assert.equal(pulls(objects), Array(4).fill([{ name: 'registry' }]))
  assert.equal(pulls(await rendered(superset(settings))), Array(3).fill([]))
  assert.equal([superset(odd).isPrivate, superset(settings).isPrivate], [true, false])
})

test('what it has as secrets is in its Secret and nowhere else', async () => {
  const app = superset(withBeat)
  assert.equal(app.secret((name) => `${name}/@`), {
    SUPERSET_SECRET_KEY: 'superset-secret-key/@',
    GUEST_TOKEN_JWT_SECRET: 'superset-guest-token-secret/@',
    DATABASE_URI: 'postgresql://superset:superset-postgres-password%2F%40@10.0.0.10:5432/superset',
    REDIS_URI: 'redis://:redis-password%2F%40@10.0.0.10:6379/3',
    ADMIN_PASSWORD: 'superset-admin-password/@',
    SMTP_PASSWORD: 'smtp-password/@'
  })
  const data = Object.assign({}, ...all(await rendered(app), 'ConfigMap').map((map) => map.data)) as object
  assert.equal(Object.keys(data).filter((name) => name in app.secret(String)), [])
  const given = (of: Settings): string[] => superset(of).given.map(({ name }) => name)
  const always = ['superset-postgres-password', 'redis-password', 'superset-admin-password']
  assert.equal(given(withBeat), [...always, 'smtp-password'])
  assert.equal(given(changed({ beat: true }, { host: 'mail.example.com' })), always)
  assert.equal(given(changed({}, { host: 'mail.example.com', user: 'keybuzz' })), always, 'without reports it sends no mail')
  assert.not('SMTP_PASSWORD' in superset(changed({}, { host: 'mail.example.com', user: 'keybuzz' })).secret(String))
})

test('what it needs of the backends', () => {
  assert.equal(superset(settings).uses, [
    {
      backend: 'postgres', database: 'superset', user: 'superset', password: 'superset-postgres-password',
      extensions: [], least: 13, supported: 13, connections: 15 * 3 + 3 * 5 * 3
    },
    { backend: 'redis', database: 3, password: 'redis-password', queue: true }
  ])
  const [postgres, , smtp] = superset(withBeat).uses
  assert.is(postgres?.backend === 'postgres' && postgres.connections, 15 * 3 + 3 * (5 * 3 + 1))
  assert.equal(smtp, { backend: 'smtp', password: 'smtp-password' })
})

test('a process may open the connections that were counted for it', async () => {
  const objects = await rendered(superset(withBeat))
  const most = ['superset-web', 'superset-worker', 'superset-beat'].map((name) => containerOf(objects, name).env?.[0])
  assert.equal(most, ['15', '3', '3'].map((value) => ({ name: 'DATABASE_CONNECTIONS', value })))
})

// Runs superset_config.py without Superset. Prints what it sets, and what it gave to Redis.
const trial = `import json, os, sys, types
def module(name, **members):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__dict__.update(members)
class RedisCache:
    def __init__(self, host, key_prefix): self.words = [host, key_prefix]
class CeleryConfig: broker_url = 'sqla+sqlite:///celerydb.sqlite'
class Redis: from_url = staticmethod(lambda url: url)
module('cachelib'); module('cachelib.redis', RedisCache=RedisCache); module('redis', Redis=Redis)
module('superset'); module('superset.config', CeleryConfig=CeleryConfig)
scope = {}
exec(sys.stdin.read(), scope)
def words(value):
    if isinstance(value, type): return {name: text for name, text in vars(value).items() if not name.startswith('_')}
    return value.words if isinstance(value, RedisCache) else value
print(json.dumps({name: words(value) for name, value in scope.items() if name.isupper()}))`

const configured = async (of: Settings, connections = '15'): Promise<Record<string, unknown>> => {
  const app = superset(of)
  const objects = await rendered(app)
  const env = Object.assign(
    { PATH: process.env['PATH'], DATABASE_CONNECTIONS: connections }, app.secret((name) => name),
    ...['superset', 'superset-environment'].map((name) => one(objects, 'ConfigMap', name).data)
  ) as NodeJS.ProcessEnv
  const input = one(objects, 'ConfigMap', 'superset-config').data?.['superset_config.py'] ?? ''
  return JSON.parse(execFileSync('python3', ['-c', trial], { input, env: { ...env, PYTHONPATH: '' }, encoding: 'utf8' })) as Record<string, unknown>
}

test('superset_config.py has its secrets from the environment, and none of the defaults that everybody knows', async () => {
  const config = await configured(settings)
  const redis = 'redis://:redis-password@10.0.0.10:6379/3'
  const cache = `${redis}?socket_connect_timeout=2&socket_timeout=2`
  assert.equal(config, {
    SECRET_KEY: 'superset-secret-key', GUEST_TOKEN_JWT_SECRET: 'superset-guest-token-secret',
    SQLALCHEMY_DATABASE_URI: 'postgresql://superset:superset-postgres-password@10.0.0.10:5432/superset',
    SQLALCHEMY_ENGINE_OPTIONS: { pool_size: 5, max_overflow: 10, pool_pre_ping: true, pool_recycle: 1800 },
    CACHE_DEFAULT_TIMEOUT: 3600,
    CACHE_CONFIG: { CACHE_TYPE: 'RedisCache', CACHE_REDIS_URL: cache, CACHE_KEY_PREFIX: 'superset_' },
    DATA_CACHE_CONFIG: { CACHE_TYPE: 'RedisCache', CACHE_REDIS_URL: cache, CACHE_KEY_PREFIX: 'superset_data_' },
    RESULTS_BACKEND: [cache, 'superset_results_'],
    RATELIMIT_STORAGE_URI: redis, RATELIMIT_STORAGE_OPTIONS: { socket_connect_timeout: 2, socket_timeout: 2 },
    RATELIMIT_IN_MEMORY_FALLBACK_ENABLED: true,
    CELERY_CONFIG: { broker_url: redis, result_backend: redis, broker_connection_retry_on_startup: true },
    ENABLE_PROXY_FIX: true, PROXY_FIX_CONFIG: { x_for: 1, x_proto: 1, x_host: 1, x_port: 0, x_prefix: 0 },
    SESSION_COOKIE_SECURE: true, SUPERSET_WEBSERVER_TIMEOUT: 120,
    WEBDRIVER_BASEURL: 'http://superset-web/', WEBDRIVER_BASEURL_USER_FRIENDLY: 'https://analytics.keybuzz.io/'
  })
})

test('a process of Celery keeps few connections, and reports go out by the mail server', async () => {
  const config = await configured(withBeat, '3')
  assert.equal(config['SQLALCHEMY_ENGINE_OPTIONS'], { pool_size: 3, max_overflow: 0, pool_pre_ping: true, pool_recycle: 1800 })
  assert.equal(Object.fromEntries(Object.entries(config).filter(([name]) => name.startsWith('SMTP_'))), {
    SMTP_HOST: 'mail.example.com', SMTP_PORT: 587, SMTP_USER: 'keybuzz', SMTP_PASSWORD: 'smtp-password',
    SMTP_MAIL_FROM: 'reports@keybuzz.io', SMTP_SSL: false, SMTP_STARTTLS: true, SMTP_SSL_SERVER_AUTH: true
  })
  const withoutLogin = await configured(changed({ beat: true }, { host: '10.0.0.25', port: 465 }))
  assert.equal(['SMTP_USER', 'SMTP_PASSWORD', 'SMTP_MAIL_FROM', 'SMTP_SSL', 'SMTP_STARTTLS'].map((name) => withoutLogin[name]),
    ['', '', 'no-reply@analytics.keybuzz.io', true, false])
  const startsTls = async (smtp: Partial<Settings['backends']['smtp']>): Promise<unknown> =>
    (await configured(changed({ beat: true }, { host: '10.0.0.25', ...smtp })))['SMTP_STARTTLS']
  assert.equal([await startsTls({ port: 25 }), await startsTls({ port: 587 }), await startsTls({ port: 25, user: 'keybuzz' })], [false, true, true],
    'a password is never sent in the open')
})

test('only the ingress reaches web, and the ingress waits longer than Superset', async () => {
  const objects = await rendered(superset(settings))
  const policies = all(objects, 'NetworkPolicy').map(({ metadata, spec }) =>
    [metadata.name, ...(spec.ingress ?? spec.egress ?? []).flatMap(({ ports }) => ports)])
  assert.equal(policies, [['from-the-ingress', { protocol: 'TCP', port: 8088 }], ['https-outside', { protocol: 'TCP', port: 443 }]])
  assert.equal(one(objects, 'Ingress', 'superset').metadata.annotations, {
    'nginx.org/redirect-to-https': 'true', 'nginx.org/proxy-read-timeout': '150s', 'nginx.org/client-max-body-size': '50m'
  })
  assert.equal(superset(settings).answer, { path: '/health', body: 'OK' })
})

test.run()
