import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { defaultSettings } from '../../../lib/input/settings.mts'
import type { Run } from '../../../lib/run/run.mts'
import { withServer } from '../../support/servers.mts'

const folder = mkdtempSync(join(tmpdir(), 'keybuzz-open-'))
test.after(() => rmSync(folder, { recursive: true }))
process.env['HOME'] = folder // with no token of `vault login`
delete process.env['VAULT_TOKEN']
const { openVault } = await import('../../../lib/vault/open.mts')

const opened = (mode: Run['mode'], file?: string, settings = defaultSettings()) => {
  const notes: string[] = []
  const run = { mode, settings, signal: new AbortController().signal, note: (line: string) => void notes.push(line) } as unknown as Run
  return openVault(run, file, [{ path: 'sys/mounts', capabilities: ['read'] }]).then(({ vault, opens }) => ({ hasVault: vault !== undefined, steps: opens.map(({ name }) => name), notes }))
}

test('a validation without a token says what it does not see', async () => {
  const { hasVault, steps, notes } = await opened('validate')
  assert.is(hasVault, false)
  assert.equal(steps, ['has a Vault that answers'])
  assert.match(notes[0]!, /^What Vault itself has was not compared/)
})

test('a validation goes on without a token that `vault login` once left, where it is of no use; a plan does not', async () => {
  writeFileSync(join(folder, '.vault-token'), 'hvs.over\n')
  const settings = defaultSettings()
  const refusing = () => createServer((_, response) => response.writeHead(403).end('{"errors": ["permission denied"]}'))
  await withServer(() => {}, async (port) => {
    settings.backends.vault = { ...settings.backends.vault, address: '127.0.0.1', port, tls: false }
    const { hasVault, notes } = await opened('validate', undefined, settings)
    assert.is(hasVault, false)
    assert.match(notes[0]!, /^What Vault itself has was not compared: of the token that `vault login` has left: .*(permission denied|not valid)/)
    assert.ok((await opened('plan', undefined, settings)).hasVault)
  }, refusing)
  rmSync(join(folder, '.vault-token'))
})

test('a runbook says which Vault its commands mean', async () => {
  const settings = defaultSettings()
  settings.backends.vault.ca = ''
  assert.equal((await opened('runbook', undefined, settings)).notes, ["export VAULT_ADDR=https://10.0.0.150:8200"])
})

test('with a token its rights are asked before anything else', async () => {
  const file = join(folder, 'token')
  writeFileSync(file, 'hvs.of-the-test\n')
  for (const mode of ['validate', 'plan', 'apply'] as const) {
    assert.equal(await opened(mode, file), { hasVault: true, steps: ['has a Vault that answers', 'knows a token of Vault', 'has a token that may do what is needed'], notes: [] })
  }
})

test.run()
