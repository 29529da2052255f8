import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { parse } from 'yaml'
import { defaultSettings } from '../../../lib/input/settings.mts'
import { agentOf, userOf, valueOf } from '../../../lib/vault/agent.mts'

const folder = mkdtempSync(join(tmpdir(), 'keybuzz-agent-'))
test.after(() => rmSync(folder, { recursive: true }))

const client = { app: 'api', namespace: 'keybuzz-api', account: 'api' }
type Map = { metadata: { name: string; namespace: string }; data: Record<string, string> }

test('the agent gets a template for each file, and the list of what a pod waits for', async () => {
  const settings = defaultSettings()
  const files = { SECRET_KEY: valueOf(settings, 'api', 'SECRET_KEY'), user: userOf(settings, 'api', 'username') }
  const { metadata, data } = parse(await agentOf(settings, client, files)) as Map
  assert.equal(metadata, { name: 'vault-agent', namespace: 'keybuzz-api' })
  assert.is(data['files'], 'SECRET_KEY\nuser\n')
  assert.is(data['ca.crt'], '')
  const config = data['agent.hcl']!
  for (const line of [
    'address = "https://10.0.0.150:8200"', 'mount_path  = "auth/k3s"', 'role       = "api"', 'static_secret_render_interval = "300s"',
    '"/vault/secrets/SECRET_KEY"', String.raw`"{{ with secret \"keybuzz/data/api\" }}{{ .Data.data.SECRET_KEY }}{{ end }}"`,
    String.raw`"{{ with secret \"database/creds/api\" }}{{ .Data.username }}{{ end }}"`
  ]) assert.ok(config.includes(line), line)
})

test('a private CA goes with it', async () => {
  const settings = defaultSettings()
  settings.backends.vault.ca = join(folder, 'ca.pem')
  writeFileSync(settings.backends.vault.ca, '-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n')
  assert.match((parse(await agentOf(settings, client, {})) as Map).data['ca.crt']!, /^-----BEGIN CERTIFICATE-----\nx\n/)
})

test.run()
