import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { defaultSettings } from '../../../lib/input/settings.mts'
import type { Run } from '../../../lib/run/run.mts'

const folder = mkdtempSync(join(tmpdir(), 'keybuzz-open-'))
test.after(() => rmSync(folder, { recursive: true }))
process.env['HOME'] = folder // with no token of `vault login`
delete process.env['VAULT_TOKEN']
const { openVault } = await import('../../../lib/vault/open.mts')

const opened = (mode: Run['mode'], file?: string) => {
  const notes: string[] = []
  const run = { mode, settings: defaultSettings(), signal: new AbortController().signal, note: (line: string) => void notes.push(line) } as unknown as Run
  return openVault(run, file, [{ path: 'sys/mounts', capabilities: ['read'] }]).then(({ vault, opens }) => ({ hasVault: vault !== undefined, steps: opens.map(({ name }) => name), notes }))
}

test('a validation without a token says what it does not see', async () => {
  const { hasVault, steps, notes } = await opened('validate')
  assert.is(hasVault, false)
  assert.equal(steps, ['has a Vault that answers'])
  assert.match(notes[0]!, /^What Vault itself has was not compared/)
})

test('with a token its rights are asked before anything else', async () => {
  const file = join(folder, 'token')
  writeFileSync(file, 'hvs.of-the-test\n')
  for (const mode of ['validate', 'plan', 'apply'] as const) {
    assert.equal(await opened(mode, file), { hasVault: true, steps: ['has a Vault that answers', 'knows a token of Vault', 'has a token that may do what is needed'], notes: [] })
  }
})

test.run()
