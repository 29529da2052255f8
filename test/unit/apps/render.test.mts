import { mkdirSync, mkdtempSync, readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { parseAllDocuments } from 'yaml'
import { api } from '../../../lib/apps/api.mts'
import { filesOf, renderApp, writeFolder, type Rendered } from '../../../lib/apps/render.mts'
import { defaultSettings, type Settings } from '../../../lib/input/settings.mts'

const settingsOf = (own: Partial<Settings['apps']['api']> = {}): Settings => {
  const settings = defaultSettings()
  Object.assign(settings.apps.api, { image: 'ghcr.io/keybuzzio/platform-api:1.0.0', migrate: ['/app/migrate'], ...own })
  return settings
}
const render = (settings: Settings, checksum = 'c1'): Promise<Rendered> => renderApp(api(settings), settings, () => checksum)
const jobOf = async (settings: Settings, checksum?: string): Promise<string> => (await render(settings, checksum)).migrations[0]!.job

test('a migration is named by its image and configuration, and not by the secrets', async () => {
  const job = await jobOf(settingsOf())
  assert.match(job, /^api-migrate-[0-9a-f]{10}$/)
  assert.is(await jobOf(settingsOf()), job)
  assert.is(await jobOf(settingsOf(), 'c2'), job)
  assert.is.not(await jobOf(settingsOf({ image: 'ghcr.io/keybuzzio/platform-api:1.0.1' })), job)
  assert.is.not(await jobOf(settingsOf({ environment: { LOG_LEVEL: 'debug' } })), job)
  const { migrations: [migration] } = await render(settingsOf())
  assert.match(migration!.manifest, new RegExp(`name: ${job}\n`))
})

test('a comment in a manifest starts no migration and replaces no pod', async () => {
  const settings = settingsOf()
  const texts: string[][] = []
  await renderApp(api(settings), settings, (some) => (texts.push(some), 'c1'))
  assert.not.match(texts.flat().join(''), /Further variables of the settings/)
})

test("pods are replaced when the checksum changes, and the backends' policy names each address and port once", async () => {
  const { workloads: [workload], namespace } = await render(settingsOf(), 'c77')
  assert.match(workload!.manifest, /keybuzz\.io\/checksum: c77\n/)
  const policy = parseAllDocuments(namespace).map((one) => one.toJS() as { metadata: { name: string }; spec: { egress: object[] } })
    .find(({ metadata }) => metadata.name === 'backends')
  assert.equal(policy!.spec.egress.map((rule) => JSON.stringify(rule).match(/"cidr":"([^"]+)".*"port":(\d+)/)!.slice(1).join(':')),
    ['10.0.0.10/32:5432', '10.0.0.10/32:6379', '10.0.0.10/32:5672', '10.0.0.134/32:9000'])
})

test('a manifest that would put a database into the cluster is refused', async () => {
  await render(settingsOf({ image: 'docker.io/library/redis:7' })).then(() => assert.unreachable(), (error: Error) =>
    assert.match(error.message, /manifests\/06_core_apps\/api.*never in K3s/))
})

test('an application is written as plain YAML, in the order in which it is applied, without its secrets', async () => {
  const into = mkdtempSync(join(tmpdir(), 'keybuzz-render-'))
  const settings = settingsOf()
  await writeFolder(into, 'api', filesOf(await render(settings)))
  assert.equal(readdirSync(join(into, 'api')), ['1-namespace.yaml', '2-base.yaml', '3-api-migrate.yaml', '4-api.yaml', '5-edge.yaml'])
  const kinds = readdirSync(join(into, 'api')).flatMap((file) =>
    parseAllDocuments(readFileSync(join(into, 'api', file), 'utf8')).map((one) => {
      assert.equal(one.errors, [])
      return (one.toJS() as { kind: string }).kind
    }))
  assert.ok(kinds.includes('Deployment') && !kinds.includes('Secret'))
})

test('what an earlier rendering has left goes, and files of others stay', async () => {
  const into = mkdtempSync(join(tmpdir(), 'keybuzz-render-'))
  mkdirSync(join(into, 'api'))
  for (const file of ['4-gone.yaml', 'kustomization.yaml', '4-note.md']) writeFileSync(join(into, 'api', file), '')
  await writeFolder(into, 'api', filesOf(await render(settingsOf())))
  assert.equal(readdirSync(join(into, 'api')).filter((file) => /gone|kustom|note/.test(file)), ['4-note.md', 'kustomization.yaml'])
})

test('what is not enabled any more has no folder, unless somebody keeps a file there', async () => {
  const into = mkdtempSync(join(tmpdir(), 'keybuzz-render-'))
  await writeFolder(into, 'tenants', [['1-red', 'kind: Namespace']])
  assert.equal(readdirSync(join(into, 'tenants')), ['1-red.yaml'])
  await writeFolder(into, 'tenants', [])
  await writeFolder(into, 'superset', [])
  assert.equal(readdirSync(into), [])
})

test.run()
