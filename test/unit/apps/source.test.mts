import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { n8n } from '../../../lib/apps/n8n.mts'
import { front } from '../../../lib/apps/front.mts'
import { secretSource, vaultSource } from '../../../lib/apps/source.mts'
import { defaultSettings } from '../../../lib/input/settings.mts'
import type { Run } from '../../../lib/run/run.mts'
import { fakeKubectl } from '../../support/fake-kubectl.mts'
import { fakeVault } from '../../support/fake-vault.mts'

const settings = defaultSettings()
const app = n8n(settings)
const secrets = { given: [], known: new Map() }
const encoded = (data: Record<string, string>) => JSON.stringify({ type: 'Opaque', data: Object.fromEntries(Object.entries(data).map(([key, value]) => [key, Buffer.from(value).toString('base64')])) })
const runWith = (secret: string): Run => ({ settings, kubectl: fakeKubectl((command) => (command.includes('get secret n8n') ? secret : '')) }) as unknown as Run
const names = (steps: { name: string }[]) => steps.map(({ name }) => name)

test('an application that moves to Vault has its keys from its Secret, and then from Vault', async () => {
  const run = runWith(encoded({ N8N_ENCRYPTION_KEY: 'of the Secret' }))
  const { vault, kept } = fakeVault()
  assert.equal(await vaultSource(run, app, secrets, vault).copy.read(), { N8N_ENCRYPTION_KEY: 'of the Secret' })
  kept['keybuzz/data/n8n'] = { data: { N8N_ENCRYPTION_KEY: 'of Vault' } }
  assert.equal(await vaultSource(run, app, secrets, vault).copy.read(), { N8N_ENCRYPTION_KEY: 'of Vault' })
  assert.is(await vaultSource(runWith(''), app, secrets, fakeVault().vault).copy.read(), undefined)
})

test('the Secret goes once the pods are those of Vault, and what Vault brought once they are back', () => {
  const there = vaultSource(runWith(''), app, secrets, fakeVault().vault)
  assert.equal(names(there.before), ['says what n8n may read', 'knows the pods of n8n', 'may make users of PostgreSQL for n8n', 'makes users of PostgreSQL for n8n', 'keeps the secrets of n8n'])
  assert.equal(names(there.after), ['has no Secret any more', 'has users of PostgreSQL that are valid', 'replaces its pods in time'])
  const back = secretSource(runWith(''), app, secrets)
  assert.equal(names(back.before), ['has the Secret of n8n'])
  assert.equal(names(back.after), ['has nothing left of Vault'])
})

test('what an application has left stays open to its pods until the last has gone', async () => {
  const run = (found: string): Run => ({ settings, kubectl: fakeKubectl((command) => (command.includes('get configmap vault-agent') ? found : '')) }) as unknown as Run
  assert.is(await secretSource(run('configmap/vault-agent'), app, secrets).isLeft(), true)
  assert.is(await secretSource(run(''), app, secrets).isLeft(), false)
  assert.is(await vaultSource(run('configmap/vault-agent'), app, secrets, undefined).isLeft(), false)
})

test('on the way back from Vault its keys may still be there', async () => {
  const run = (found: string): Run => ({ settings, kubectl: fakeKubectl((command) => (command.includes('get configmap vault-agent') ? found : '')) }) as unknown as Run
  assert.is(await secretSource(run('configmap/vault-agent'), app, secrets).copy.elsewhere!(), 'Vault may still have them: vault kv get -mount=keybuzz n8n')
  assert.is(await secretSource(run(''), app, secrets).copy.elsewhere!(), '')
})

test('without a token the place of its keys is its Secret, and Vault was not asked', async () => {
  const { copy } = vaultSource(runWith(encoded({ N8N_ENCRYPTION_KEY: 'of the Secret' })), app, secrets, undefined)
  assert.equal(await copy.read(), { N8N_ENCRYPTION_KEY: 'of the Secret' })
  assert.equal([copy.place, copy.unasked], ['the Secret keybuzz-n8n/n8n', 'keybuzz/n8n of Vault was not asked: there is no token of it'])
  assert.is(vaultSource(runWith(''), app, secrets, fakeVault().vault).copy.unasked, undefined)
})

test('without a token only what the cluster shows is checked; who has no secret has no source', () => {
  const { before, after } = vaultSource(runWith(''), app, secrets, undefined)
  assert.equal([before.length, after.length], [0, 3])
  const ofFront = secretSource(runWith(''), front(settings), secrets)
  assert.equal([ofFront.before, ofFront.after], [[], []])
})

test.run()
