import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { front } from '../../../lib/apps/front.mts'
import { defaultSettings, type Settings } from '../../../lib/input/settings.mts'
import { all, available, one, probed, rendered, restricted, wired } from './rendered.mts'

const settings = defaultSettings()
settings.apps.front.image = 'ghcr.io/keybuzzio/platform-front:1.0.0'

const changed = (own: Partial<Settings['apps']['front']>, apps: Partial<Settings['apps']> = {}): Settings =>
  ({ ...settings, apps: { ...settings.apps, ...apps, front: { ...settings.apps.front, ...own } } })

test('its pods have no right too many, outlive a node, and are probed', async () => {
  const objects = await rendered(front(settings))
  restricted(objects)
  available(objects)
  probed(objects)
  wired('front', objects)
})

test('it knows the API and itself by their public addresses, and gets no secret', async () => {
  const app = front(changed({ host: 'shop.example.com' }, { api: { ...settings.apps.api, host: 'api.example.com' } }))
  const objects = await rendered(app)
  assert.equal(one(objects, 'ConfigMap', 'front').data, {
    PORT: '3000', NODE_ENV: 'production', PUBLIC_URL: 'https://shop.example.com', API_URL: 'https://api.example.com'
  })
  assert.is(one(objects, 'Ingress', 'front').spec.rules?.[0]?.host, 'shop.example.com')
  assert.is(app.host, 'shop.example.com')
  assert.equal([app.uses, app.given, app.made, app.migrations, app.secret(String)], [[], [], [], [], {}])
  assert.not.match(JSON.stringify(objects), /secretRef|secretKeyRef/)
})

test('only the ingress reaches it, and it reaches only HTTPS outside', async () => {
  const objects = await rendered(front(changed({ port: 4000 })))
  const policies = all(objects, 'NetworkPolicy').map(({ metadata, spec }) => [metadata.name, ...(spec.ingress ?? spec.egress ?? []).flatMap(({ ports }) => ports)])
  assert.equal(policies, [['from-the-ingress', { protocol: 'TCP', port: 4000 }], ['https-outside', { protocol: 'TCP', port: 443 }]])
})

test('settings of every kind reach the objects as they were written', async () => {
  const environment = { GREETING: 'say "hi"\nto $HOME and ${CHECKSUM}: #1', DEBUG: 'true', TIMES: '0123', EMPTY: '' }
  const objects = await rendered(front(changed({
    environment, port: 4000, alive: '/-/alive', ready: '/ready',
    replicas: { least: 2, most: 7, cpu: 60, memory: 90 }, resources: { cpus: 0.05, memory: 100, most_memory: 200 }
  }, { registry: { server: 'ghcr.io', user: 'robot' } })))
  assert.equal(one(objects, 'ConfigMap', 'front-environment').data, environment)
  const { spec } = one(objects, 'HorizontalPodAutoscaler', 'front')
  assert.match(JSON.stringify(spec), /"minReplicas":2,"maxReplicas":7,.*"averageUtilization":60.*"averageUtilization":90/)
  const pod = one(objects, 'Deployment', 'front').spec.template.spec
  assert.equal(pod.imagePullSecrets, [{ name: 'registry' }])
  const [container] = pod.containers
  assert.is(container?.image, 'ghcr.io/keybuzzio/platform-front:1.0.0')
  assert.equal(container?.ports, [{ name: 'http', containerPort: 4000 }])
  assert.equal(container?.resources, { requests: { cpu: 0.05, memory: '100Mi' }, limits: { memory: '200Mi' } })
  assert.equal([container?.startupProbe, container?.livenessProbe, container?.readinessProbe].map((probe) => probe?.httpGet?.path), ['/-/alive', '/-/alive', '/ready'])
  // What comes later wins: the operator's own variables.
  assert.equal(container?.envFrom, [{ configMapRef: { name: 'front' } }, { configMapRef: { name: 'front-environment' } }])
})

test.run()
