import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { differences, hasData } from '../../../lib/vault/steps.mts'
import { fakeVault } from '../../support/fake-vault.mts'

test('differences name keys, and no values', () => {
  assert.is(differences(undefined, { a: 1 }), 'is missing')
  assert.is(differences({ a: 1, b: ['x'], more: 2 }, { a: 1, b: ['x'] }), '')
  assert.is(differences({ a: 1, b: ['x'] }, { a: 2, b: ['x', 'y'] }), 'different: a, b')
})

test('what is missing is written once, with what cannot be read again', async () => {
  const { vault, kept, asked } = fakeVault()
  const step = hasData(vault, { name: 'knows', path: 'database/config/postgres', wanted: { username: 'vault' }, hidden: { value: () => ({ password: 'p' }), shown: { password: '<P>' } } })
  assert.is(await step.check(), 'is missing')
  await step.change!()
  assert.equal(kept, { 'database/config/postgres': { username: 'vault', password: 'p' } })
  assert.is(await step.check(), '')
  assert.equal(asked, ['read database/config/postgres', 'write database/config/postgres', 'read database/config/postgres'])
  assert.match(step.byHand!, /vault write database\/config\/postgres - <<'END'\n\{\n {2}"username": "vault",\n {2}"password": "<P>"\n\}\nEND/)
})

test('what Vault lays out otherwise is compared as it was written', async () => {
  const { vault } = fakeVault({ kept: { path: { details: { username: 'vault' } } } })
  const step = hasData(vault, { name: 'knows', path: 'path', wanted: { username: 'vault' }, seen: ({ details }) => details as Record<string, unknown> })
  assert.is(await step.check(), '')
})

test.run()
