import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { parseAllDocuments } from 'yaml'
import type { App } from '../../../lib/apps/app.mts'
import { enabledApps } from '../../../lib/apps/apps.mts'
import { clientOf, filesOf, keptOf, withVault } from '../../../lib/apps/from-vault.mts'
import { renderApp } from '../../../lib/apps/render.mts'
import { defaultSettings, type Settings } from '../../../lib/input/settings.mts'
import { templateOf } from '../../../lib/secrets/holder.mts'
import { all, type Container, type Made, type Pod } from './rendered.mts'

const folder = mkdtempSync(join(tmpdir(), 'keybuzz-from-vault-'))
test.after(() => rmSync(folder, { recursive: true }))

const moved = (): Settings => {
  const settings = defaultSettings()
  settings.apps.superset.enabled = true
  settings.apps.superset.beat = true
  settings.vault.apps = ['api', 'chatwoot', 'n8n', 'superset']
  settings.apps.api = { ...settings.apps.api, image: 'ghcr.io/keybuzzio/platform-api:1.0.0', command: ['node', 'server.js'], migrate: ['node', 'migrate.js'] }
  return settings
}

const appOf = (name: string, settings = moved()): App => enabledApps(settings).find((app) => app.name === name)!

const objectsOf = async (name: string, settings = moved()): Promise<Made[]> => {
  const { namespace, base, migrations, workloads, edge } = await renderApp(appOf(name, settings), settings, () => 'c0')
  return [namespace, base, ...migrations.map(({ manifest }) => manifest), ...workloads.map(({ manifest }) => manifest), edge]
    .flatMap((text) => parseAllDocuments(text)).map((document) => document.toJS() as Made)
}
const names = ['api', 'chatwoot', 'n8n', 'superset']
const containersOf = ({ spec: { template: { spec: { initContainers = [], containers } } } }: Made): Container[] => [...initContainers, ...containers]

test('no pod of an application that gets its secrets from Vault names its Secret, and each asks for the agent', async () => {
  for (const name of names) {
    const objects = await objectsOf(name)
    const pods = all(objects, 'Deployment', 'Job')
    assert.ok(pods.length > 0)
    for (const made of pods) {
      assert.is(made.spec.template.metadata.annotations?.['keybuzz.io/vault-agent'], 'vault-agent', made.metadata.name)
      assert.not.match(JSON.stringify(made.spec), /secretRef|secretKeyRef/, made.metadata.name)
      for (const { command = [], args, name: container } of containersOf(made)) {
        assert.equal(command.slice(0, 2), ['sh', '/vault/secrets/run'], container)
        assert.ok(command.length > 2 && args === undefined, container)
      }
    }
    assert.is(all(objects, 'Namespace')[0]!.metadata.labels?.['keybuzz.io/vault'], 'on')
    assert.match(JSON.stringify(all(objects, 'NetworkPolicy').find(({ metadata }) => metadata.name === 'backends')), /10\.0\.0\.150\/32.*8200/)
  }
})

test('an application that stays with its Secret has nothing of Vault', async () => {
  const settings = { ...moved(), vault: { ...moved().vault, apps: [] } }
  for (const name of names) {
    const objects = await objectsOf(name, settings)
    assert.is(all(objects, 'Namespace')[0]!.metadata.labels?.['keybuzz.io/vault'], 'off')
    assert.is(all(objects, 'CronJob').length, 0)
    assert.not.match(JSON.stringify(all(objects, 'Deployment', 'Job', 'ConfigMap')), /vault/)
  }
})

test('its migrations are the same: no application is stopped for one when it moves', async () => {
  const jobs = async (settings: Settings) => all(await objectsOf('superset', settings), 'Job').map(({ metadata }) => metadata.name)
  assert.equal(await jobs(moved()), await jobs({ ...moved(), vault: { ...moved().vault, apps: [] } }))
})

test("n8n's runner sees one secret, and what starts it", async () => {
  const { initContainers: [runner] = [], volumes = [] } = all(await objectsOf('n8n'), 'Deployment').find(({ metadata }) => metadata.name === 'n8n-worker')!.spec.template.spec
  assert.equal(volumes.filter(({ name }) => name === 'vault-secrets'), [{ name: 'vault-secrets', emptyDir: { medium: 'Memory', sizeLimit: '4Mi' } }])
  const mounts = (runner as Container & { volumeMounts: { name: string; subPath?: string }[] }).volumeMounts
  assert.equal(mounts.filter(({ name }) => name === 'vault-secrets').map(({ subPath }) => subPath), ['run', 'N8N_RUNNERS_AUTH_TOKEN'])
})

test('programs of probes get the secrets too', async () => {
  const worker = all(await objectsOf('superset'), 'Deployment').find(({ metadata }) => metadata.name === 'superset-worker')!
  const { startupProbe, livenessProbe } = worker.spec.template.spec.containers[0]!
  for (const probe of [startupProbe, livenessProbe]) assert.equal(probe?.exec?.command, ['sh', '/vault/secrets/run', 'python', '/app/pythonpath/alive.py'])
})

test('what is rendered keeps its comments', async () => {
  const settings = moved()
  const { workloads: [main] } = await renderApp(appOf('n8n', settings), settings, () => 'c0')
  assert.match(main!.manifest, /# The old one ends before the new one starts/)
})

test('a container without a command is a fault of the manifest', () => {
  const manifest = 'spec: {template: {metadata: {annotations: {}}, spec: {containers: [{name: x, envFrom: [{secretRef: {name: api}}]}]}}}'
  assert.throws(() => withVault(manifest, 'api'), /the container x names no command/)
})

test('Vault keeps all of the Secret but the user of PostgreSQL, which each pod gets of its own', () => {
  const expected = { api: ['DATABASE_URL'], chatwoot: ['POSTGRES_USERNAME', 'POSTGRES_PASSWORD'], n8n: ['DB_POSTGRESDB_USER', 'DB_POSTGRESDB_PASSWORD'], superset: ['DATABASE_URI'] }
  const settings = moved()
  for (const app of enabledApps(settings).filter(({ name }) => name in expected)) {
    const kept = Object.keys(templateOf(keptOf(app)))
    assert.equal(Object.keys(templateOf(app)).filter((key) => !kept.includes(key)), expected[app.name as keyof typeof expected])
    assert.equal(Object.keys(filesOf(settings, app)).toSorted(), [...Object.keys(templateOf(app)), 'run'].toSorted())
    assert.is(clientOf(app).role, (settings.apps[app.name] as { user: string }).user)
  }
  const files = filesOf(settings, appOf('api', settings))
  assert.is(files['SECRET_KEY'], '{{ with secret "keybuzz/data/api" }}{{ .Data.data.SECRET_KEY }}{{ end }}')
  assert.is(files['DATABASE_URL'], 'postgresql://{{ with secret "database/creds/api" }}{{ .Data.username }}{{ end }}:{{ with secret "database/creds/api" }}{{ .Data.password }}{{ end }}@10.0.0.10:5432/keybuzz')
})

test('a program is started with every variable as it stands in its file, and with nothing else', () => {
  const secrets = join(folder, 'secrets')
  mkdirSync(secrets)
  const odd = String.raw` $(HOME)'"\n$USER %s`
  const values: Record<string, string> = { A_KEY: odd, B: 'x', '123': 'half written', lower: 'no variable' }
  for (const [name, value] of Object.entries(values)) writeFileSync(join(secrets, name), value)
  const run = filesOf(moved(), appOf('api'))['run']!
  writeFileSync(join(folder, 'run'), run.replaceAll('/vault/secrets', secrets))
  const shown = execFileSync('sh', [join(folder, 'run'), process.execPath, '-p', 'JSON.stringify([process.env, process.argv.slice(1)])', 'an argument'], { encoding: 'utf8', env: { PATH: process.env['PATH'] } })
  const [environment, argv] = JSON.parse(shown) as [Record<string, string>, string[]]
  assert.is(environment['A_KEY'], odd)
  assert.is(environment['B'], 'x')
  assert.not('lower' in environment)
  assert.equal(argv, ['an argument'])
})

type Rotation = { schedule: string; jobTemplate: { spec: { activeDeadlineSeconds: number; template: { spec: Pod } } } }
const rotationOf = (objects: Made[]): Rotation => all(objects, 'CronJob')[0]!.spec as unknown as Rotation
const argsOf = (containers: Container[] = []) => containers.map(({ args }) => args)

test('its pods are replaced each night by one that may do only this', async () => {
  const settings = moved()
  settings.vault.rotation.at = '23:05'
  const objects = await objectsOf('chatwoot', settings)
  const { schedule, jobTemplate: { spec: { template: { spec: { initContainers, containers } } } } } = rotationOf(objects)
  assert.is(schedule, '5 23 * * *')
  assert.is(initContainers, undefined)
  assert.equal(argsOf(containers), [['rollout', 'restart', 'deployment/chatwoot-web', 'deployment/chatwoot-sidekiq']])
  const [role] = all(objects, 'Role') as unknown as { rules: object[] }[]
  assert.equal(role!.rules, [{ apiGroups: ['apps'], resources: ['deployments'], resourceNames: ['chatwoot-web', 'chatwoot-sidekiq'], verbs: ['get', 'list', 'watch', 'patch'] }])
})

test('a pod that ends before its successor is replaced only once others have got their secrets from Vault', async () => {
  for (const [name, first, waits, last] of [
    ['n8n', ['n8n-webhook', 'n8n-worker'], 'n8n-webhook', 'n8n-main'],
    ['superset', ['superset-web', 'superset-worker'], 'superset-web', 'superset-beat']
  ] as const) {
    const { activeDeadlineSeconds, template: { spec: pod } } = rotationOf(await objectsOf(name)).jobTemplate.spec
    assert.equal(argsOf(pod.initContainers), [['rollout', 'restart', ...first.map((one) => `deployment/${one}`)], ['rollout', 'status', `deployment/${waits}`]])
    assert.equal(argsOf(pod.containers), [['rollout', 'restart', `deployment/${last}`]])
    // Two attempts.
    assert.ok(activeDeadlineSeconds > 2 * moved().apps.rollout_timeout)
  }
})

test('the configuration of the agent is among what replaces the pods', async () => {
  const texts: string[][] = []
  const settings = moved()
  await renderApp(appOf('api', settings), settings, (given) => (texts.push(given), 'c0'))
  assert.ok(texts[0]!.some((text) => text.includes('agent.hcl')))
  assert.not(texts[0]!.some((text) => text.includes('CronJob')))
})

test.run()
