import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Refusal } from '../../../lib/run/step.mts'

const home = mkdtempSync(join(tmpdir(), 'keybuzz-token-'))
process.env['HOME'] = home
delete process.env['VAULT_TOKEN']
const { knownToken, knowsToken } = await import('../../../lib/vault/token.mts')

const cli = join(home, '.vault-token')
test.after.each(() => {
  rmSync(cli, { force: true })
  delete process.env['VAULT_TOKEN']
})
test.after(() => rmSync(home, { recursive: true }))

test('a file is before the variable, and the variable before what the CLI has left', async () => {
  const file = join(home, 'token')
  writeFileSync(file, 'of-the-file\n', { mode: 0o600 })
  writeFileSync(cli, 'of-the-cli')
  assert.is((await knownToken({ mode: 'plan' }, undefined)).token?.reveal(), 'of-the-cli')
  assert.ok((await knownToken({ mode: 'plan' }, undefined)).isLeft)
  process.env['VAULT_TOKEN'] = 'of-the-variable'
  assert.is((await knownToken({ mode: 'apply' }, undefined)).token?.reveal(), 'of-the-variable')
  assert.is((await knownToken({ mode: 'apply' }, file)).token?.reveal(), 'of-the-file')
})

test('without one a validation goes on, as a plan does to its end; what has no terminal is told what to set', async () => {
  for (const mode of ['validate', 'plan'] as const) assert.equal(await knownToken({ mode }, undefined), { isLeft: false })
  const refusal = await knowsToken(undefined).check().then(() => assert.unreachable(), (thrown: Error) => thrown) as Error
  assert.instance(refusal, Refusal)
  assert.match(refusal.message, /^there is none: set VAULT_TOKEN/)
  const error = await knownToken({ mode: 'apply' }, undefined).then(() => assert.unreachable(), (thrown: Error) => thrown) as Error
  assert.match(error.message, /VAULT_TOKEN is not set: expected the token of Vault .*Set VAULT_TOKEN, or name a file that holds it with --vault-token-file\./)
})

test('a runbook has a placeholder', async () => {
  const { token } = await knownToken({ mode: 'runbook' }, undefined)
  assert.is(token?.reveal(), '<VAULT_TOKEN>')
  assert.is(await knowsToken(token).check(), '')
})

test.run()
