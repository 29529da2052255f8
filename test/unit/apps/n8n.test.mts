import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { n8n } from '../../../lib/apps/n8n.mts'
import { defaultSettings, type Settings } from '../../../lib/input/settings.mts'
import { all, available, type Container, type Made, one, type Pod, probed, rendered, restricted, wired } from './rendered.mts'

const settings = defaultSettings()

const changed = (own: Partial<Settings['apps']['n8n']>, smtp: Partial<Settings['backends']['smtp']> = {}): Settings => ({
  ...settings,
  apps: { ...settings.apps, n8n: { ...settings.apps.n8n, ...own } },
  backends: { ...settings.backends, smtp: { ...settings.backends.smtp, ...smtp } }
})

const objects = await rendered(n8n(settings))
const podOf = (made: Made[], name: string): Pod => one(made, 'Deployment', name).spec.template.spec
const containerOf = (made: Made[], name: string): Container => podOf(made, name).containers[0]!
const envOf = ({ env = [] }: Container): Record<string, string | undefined> =>
  Object.fromEntries(env.map(({ name, value }) => [name, value]))
const deployments = ['n8n-main', 'n8n-webhook', 'n8n-worker']

test('its pods have no right too many, are probed, and outlive a node: main moves, the others are several', async () => {
  for (const made of [objects, await rendered(n8n(changed({ environment: { A: 'b' } }, { host: 'mail.example.com' })))]) {
    restricted(made)
    available(made, ['n8n-main'])
    probed(made)
    wired('n8n', made)
  }
})

test('main is rolled out first: it prepares the database', () => {
  assert.equal(n8n(settings).workloads.map(({ name }) => name), deployments)
})

test('main leaves a dead node after 30 seconds', () => {
  const { tolerations } = podOf(objects, 'n8n-main') as Pod & { tolerations: object[] }
  assert.equal(tolerations, ['not-ready', 'unreachable'].map((what) =>
    ({ key: `node.kubernetes.io/${what}`, operator: 'Exists', effect: 'NoExecute', tolerationSeconds: 30 })))
})

test('each process has its command, and what only it needs', () => {
  assert.equal(deployments.map((name) => containerOf(objects, name).args), [['start'], ['webhook'], ['worker', '--concurrency=10']])
  assert.equal(deployments.map((name) => envOf(containerOf(objects, name))), [
    { N8N_DISABLE_PRODUCTION_MAIN_PROCESS: 'true', N8N_GRACEFUL_SHUTDOWN_TIMEOUT: '30' },
    { N8N_GRACEFUL_SHUTDOWN_TIMEOUT: '300' },
    { QUEUE_HEALTH_CHECK_ACTIVE: 'true', QUEUE_HEALTH_CHECK_PORT: '5678', N8N_GRACEFUL_SHUTDOWN_TIMEOUT: '300' }
  ])
})

test('a pod has more time to end than its pause and n8n take together', () => {
  for (const name of deployments) {
    const { lifecycle } = containerOf(objects, name)
    const graceful = Number(envOf(containerOf(objects, name))['N8N_GRACEFUL_SHUTDOWN_TIMEOUT'])
    const pause = lifecycle?.preStop?.sleep?.seconds ?? 0
    assert.ok(podOf(objects, name).terminationGracePeriodSeconds! >= pause + graceful + 10, name)
    assert.is(lifecycle !== undefined, name !== 'n8n-worker', `${name} leaves the ingress first`)
  }
})

test('alive asks for nothing else, ready for the backends', () => {
  for (const name of deployments) {
    const { startupProbe, livenessProbe, readinessProbe } = containerOf(objects, name)
    const paths = [startupProbe, livenessProbe, readinessProbe].map((probe) => probe?.httpGet?.path)
    assert.equal(paths, ['/healthz', '/healthz', '/healthz/readiness'])
  }
})

test('where it writes is an emptyDir: its home and /tmp', () => {
  type Mounts = { volumeMounts: { name: string; mountPath: string }[] }
  const mounts = (container: Container): string[] =>
    (container as Container & Mounts).volumeMounts.map(({ mountPath }) => mountPath)
  for (const name of deployments) assert.equal(mounts(containerOf(objects, name)), ['/home/node', '/tmp'])
  assert.equal(mounts(podOf(objects, 'n8n-worker').initContainers![0]!), ['/tmp'])
  assert.is(one(objects, 'ConfigMap', 'n8n').data!['N8N_USER_FOLDER'], '/home/node')
})

test('each worker has its runner as a sidecar, which gets its own token and no other secret', () => {
  const [runner, ...others] = podOf(objects, 'n8n-worker').initContainers!
  assert.equal(others, [])
  assert.is(runner!.restartPolicy, 'Always')
  assert.is(runner!.startupProbe, undefined, 'it would wait for the worker, which waits for it')
  assert.equal(runner!.env, [
    { name: 'N8N_RUNNERS_TASK_BROKER_URI', value: 'http://127.0.0.1:5679' },
    { name: 'N8N_RUNNERS_AUTH_TOKEN', valueFrom: { secretKeyRef: { name: 'n8n', key: 'N8N_RUNNERS_AUTH_TOKEN' } } }
  ])
  assert.equal(runner!.envFrom, [{ configMapRef: { name: 'n8n' } }, { configMapRef: { name: 'n8n-environment' } }])
  for (const name of ['n8n-main', 'n8n-webhook']) assert.is(podOf(objects, name).initContainers, undefined)
})

test('the images of n8n and of its runners have one tag', () => {
  const images = [settings.apps.n8n.image, settings.apps.n8n.runners_image]
  assert.equal(images.map((image) => image.split(':').at(-1)), ['2.48.5', '2.48.5'])
  assert.equal(deployments.map((name) => containerOf(objects, name).image), [images[0], images[0], images[0]])
  assert.is(podOf(objects, 'n8n-worker').initContainers![0]!.image, images[1])
})

// As nginx chooses: a path that is equal, else the longest that it begins with (ngx_http_core_module, location).
const serviceFor = (url: string): string => {
  const paths = one(objects, 'Ingress', 'n8n').spec.rules![0]!.http.paths
  const exact = paths.find(({ path, pathType }) => pathType === 'Exact' && path === url)
  const prefixes = paths.filter(({ path, pathType }) => pathType !== 'Exact' && url.startsWith(path))
  return (exact ?? prefixes.toSorted((a, b) => b.path.length - a.path.length)[0])!.backend.service.name
}

test('the webhook processors take what starts or continues a workflow, main all else, its trials too', () => {
  const webhook = [
    '/webhook/a', '/webhook/a/b/chat', '/webhook-waiting/1', '/webhook-waiting/1/x', '/webhook-waiting-slack',
    '/webhook-waiting-telegram', '/form/a', '/form-waiting/1', '/mcp/a', '/mcp/a/sse'
  ]
  const main = [
    '/', '/webhook-test/a', '/webhook-waiting-slack2', '/form-test/a', '/mcp-test/a', '/mcp-server/http', '/rest/push', '/rest/me',
    '/healthz', '/workflow/1', '/assets/merge-1.js', '/static/n8n-logo.png', '/types/nodes.json', '/api/v1/workflows', '/signin'
  ]
  assert.equal(webhook.filter((url) => serviceFor(url) !== 'n8n-webhook'), [])
  assert.equal(main.filter((url) => serviceFor(url) !== 'n8n-main'), [])
})

test('no spelling of /metrics leads to a pod', () => {
  const letters = [...'metrics']
  const spellings = Array.from({ length: 2 ** letters.length }, (_, bits) =>
    letters.map((letter, index) => ((bits >> index) & 1 ? letter.toUpperCase() : letter)).join(''))
  assert.is(new Set(spellings).size, 128)
  for (const spelling of spellings)
    for (const end of ['', '/']) assert.is(serviceFor(`/${spelling}${end}`), 'nobody')
  assert.equal(one(objects, 'Service', 'nobody').spec.selector, undefined)
})

test('the Ingress suits n8n: https, websockets of main, files, and answers that take their time', () => {
  assert.equal(one(objects, 'Ingress', 'n8n').metadata.annotations, {
    'nginx.org/redirect-to-https': 'true',
    'nginx.org/websocket-services': 'n8n-main',
    'nginx.org/proxy-read-timeout': '300s',
    'nginx.org/proxy-buffering': 'false',
    'nginx.org/client-max-body-size': '200m'
  })
  assert.is(one(objects, 'ConfigMap', 'n8n').data!['N8N_FORMDATA_FILE_SIZE_MAX'], '200')
  assert.is(envOf(containerOf(objects, 'n8n-webhook'))['N8N_GRACEFUL_SHUTDOWN_TIMEOUT'], '300')
})

test('only the ingress reaches main and webhook processors, Prometheus every process, and all reach HTTPS outside', () => {
  const [inwards, metrics, outwards, ...more] = all(objects, 'NetworkPolicy')
  assert.equal(more, [])
  assert.equal(inwards!.spec.podSelector?.matchExpressions, [{ key: 'app', operator: 'In', values: ['n8n-main', 'n8n-webhook'] }])
  assert.equal(inwards!.spec.ingress!.map(({ ports }) => ports), [[{ protocol: 'TCP', port: 5678 }]])
  assert.is(inwards!.spec.ingress![0]!.from.length, 256)
  assert.equal(metrics!.spec.podSelector?.matchExpressions, [{ key: 'app', operator: 'In', values: ['n8n-main', 'n8n-webhook', 'n8n-worker'] }])
  assert.equal(metrics!.spec.ingress, [{
    from: [{
      namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'monitoring' } }, podSelector: { matchLabels: { app: 'prometheus' } }
    }],
    ports: [{ protocol: 'TCP', port: 5678 }]
  }])
  assert.equal(outwards!.spec.podSelector, {})
  assert.equal(outwards!.spec.egress!.map(({ ports }) => ports), [[{ protocol: 'TCP', port: 443 }]])
})

test('its ConfigMap names the backends and the public address', () => {
  const data = one(objects, 'ConfigMap', 'n8n').data!
  const expected = {
    N8N_HOST: 'n8n.keybuzz.io', N8N_PROTOCOL: 'https',
    N8N_WEBHOOK_URL: 'https://n8n.keybuzz.io/', N8N_EDITOR_BASE_URL: 'https://n8n.keybuzz.io/',
    N8N_PROXY_HOPS: '1', GENERIC_TIMEZONE: 'Europe/Paris', TZ: 'Europe/Paris', EXECUTIONS_MODE: 'queue',
    DB_TYPE: 'postgresdb', DB_POSTGRESDB_HOST: '10.0.0.10', DB_POSTGRESDB_PORT: '5432',
    DB_POSTGRESDB_DATABASE: 'n8n',
    DB_POSTGRESDB_POOL_SIZE: '4', QUEUE_BULL_REDIS_HOST: '10.0.0.10', QUEUE_BULL_REDIS_PORT: '6379', QUEUE_BULL_REDIS_DB: '2',
    QUEUE_BULL_REDIS_TIMEOUT_THRESHOLD: '60000', QUEUE_BULL_REDIS_KEEP_ALIVE: 'true', N8N_DEFAULT_BINARY_DATA_MODE: 'database',
    N8N_SCHEDULER_ENABLED: 'true', N8N_USE_WORKFLOW_PUBLICATION_SERVICE: 'true', N8N_SCHEDULER_MISFIRE_GRACE: '900',
    N8N_EXECUTIONS_QUEUE_RECOVERY_INTERVAL: '10', N8N_RUNNERS_MODE: 'external', N8N_SMTP_HOST: ''
  }
  for (const [name, value] of Object.entries(expected)) assert.is(data[name], value, name)
  for (const [name, value] of Object.entries(data)) assert.type(value, 'string', name)
  assert.not('WEBHOOK_URL' in data, 'it is deprecated')
})

test('a secret is in the Secret, and nowhere else', async () => {
  const app = n8n(changed({}, { host: 'mail.example.com', user: 'n8n' }))
  const secret = app.secret((name) => `<${name}>`)
  assert.equal(secret, {
    N8N_ENCRYPTION_KEY: '<n8n-encryption-key>',
    N8N_RUNNERS_AUTH_TOKEN: '<n8n-runners-token>',
    DB_POSTGRESDB_USER: 'n8n',
    DB_POSTGRESDB_PASSWORD: '<n8n-postgres-password>',
    QUEUE_BULL_REDIS_PASSWORD: '<redis-password>',
    N8N_SMTP_PASS: '<smtp-password>'
  })
  const made = await rendered(app)
  const inConfigMaps = all(made, 'ConfigMap').flatMap(({ data = {} }) => Object.keys(data))
  assert.equal(Object.keys(secret).filter((name) => inConfigMaps.includes(name)), [])
  assert.equal(all(made, 'Secret'), [])
  for (const name of deployments) assert.equal(containerOf(made, name).envFrom, [
    { configMapRef: { name: 'n8n' } }, { configMapRef: { name: 'n8n-environment' } }, { secretRef: { name: 'n8n' } }
  ])
})

test('every secret that it names is given or made, without mail none for mail', () => {
  for (const app of [n8n(settings), n8n(changed({}, { host: 'mail.example.com', user: 'n8n' }))]) {
    const names = [...app.given, ...app.made].map(({ name }) => name)
    app.secret((name) => {
      assert.ok(names.includes(name), name)
      return name
    })
    for (const use of app.uses) assert.ok('password' in use && names.includes(use.password))
  }
  assert.not.match(JSON.stringify([n8n(settings).given, n8n(settings).uses, n8n(settings).secret(String)]), /smtp/i)
})

test('a mail server without a user has no password to ask for', () => {
  const app = n8n(changed({}, { host: 'mail.example.com' }))
  assert.equal([...app.given.map(({ name }) => name), ...Object.keys(app.secret(String))].filter((name) => /smtp/i.test(name)), [])
  assert.ok(app.uses.some(({ backend }) => backend === 'smtp'))
})

test('its connections to PostgreSQL are those of all pods, and of the one more of each rollout', () => {
  const { webhook, worker } = settings.apps.n8n
  const app = n8n(changed({ pool: 5, webhook: { ...webhook, replicas: 3 }, worker: { ...worker, replicas: 8 } }))
  const [postgres, redis] = app.uses
  assert.is(postgres?.backend === 'postgres' && postgres.connections, 5 * (1 + 4 + 9))
  assert.is(redis?.backend === 'redis' && redis.queue, true)
})

test('mail is sent through the server of the settings: with TLS from the first byte at 465, else with STARTTLS', async () => {
  const mail = async (port: number): Promise<unknown> => {
    const smtp = { host: 'mail.example.com', port, user: 'n8n"\\x', from: 'no-reply@keybuzz.io' }
    const data = one(await rendered(n8n(changed({}, smtp))), 'ConfigMap', 'n8n').data!
    return Object.fromEntries(Object.entries(data).filter(([name]) => /SMTP|EMAIL/.test(name)))
  }
  const common = {
    N8N_EMAIL_MODE: 'smtp', N8N_SMTP_HOST: 'mail.example.com', N8N_SMTP_USER: 'n8n"\\x', N8N_SMTP_SENDER: 'no-reply@keybuzz.io'
  }
  assert.equal(await mail(587), { ...common, N8N_SMTP_PORT: '587', N8N_SMTP_SSL: 'false' })
  assert.equal(await mail(465), { ...common, N8N_SMTP_PORT: '465', N8N_SMTP_SSL: 'true' })
})

test('settings of every kind reach the objects as they were written', async () => {
  const environment = { GREETING: 'say "hi"\nto $HOME and ${CHECKSUM}: #1', DEBUG: 'true', TIMES: '0123', EMPTY: '' }
  const resources = { cpus: 0.05, memory: 600, most_memory: 1200 }
  const image = `localhost:5000/n8n:2.50.0@sha256:${'a'.repeat(64)}`
  const made = await rendered(n8n(changed({
    environment, image, host: '1.2', database: 'null', user: 'yes', timezone: 'NO', main: { resources },
    worker: { replicas: 9, concurrency: 25, resources }, runner: { resources: { ...resources, memory: 300 } }
  })))
  assert.equal(one(made, 'ConfigMap', 'n8n-environment').data, environment)
  const data = one(made, 'ConfigMap', 'n8n').data!
  assert.equal(
    ['N8N_HOST', 'DB_POSTGRESDB_DATABASE', 'TZ', 'N8N_RUNNERS_MAX_CONCURRENCY'].map((name) => data[name]),
    ['1.2', 'null', 'NO', '25']
  )
  assert.is(one(made, 'Deployment', 'n8n-worker').spec.replicas, 9)
  assert.equal(containerOf(made, 'n8n-worker').args, ['worker', '--concurrency=25'])
  assert.equal(containerOf(made, 'n8n-main').resources, { requests: { cpu: 0.05, memory: '600Mi' }, limits: { memory: '1200Mi' } })
  assert.is(podOf(made, 'n8n-worker').initContainers![0]!.resources!.requests!['memory'], '300Mi')
  for (const name of deployments) assert.is(containerOf(made, name).image, image)
})

test.run()
