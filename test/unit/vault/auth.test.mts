import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { defaultSettings } from '../../../lib/input/settings.mts'
import { VaultError, type Data } from '../../../lib/reach/vault.mts'
import { Refusal } from '../../../lib/run/step.mts'
import { hasMount, knowsPods, mayRead } from '../../../lib/vault/auth.mts'
import { fakeKubectl } from '../../support/fake-kubectl.mts'
import { fakeVault } from '../../support/fake-vault.mts'

const settings = defaultSettings()
const client = { app: 'api', namespace: 'keybuzz-api', account: 'api' }

const kubectl = fakeKubectl((command) => {
  if (command.includes('kube-root-ca.crt')) return 'THE CA\n'
  if (command === '-n keybuzz-api create token api --audience vault') return 'jwt-of-a-pod\n'
  if (command.startsWith('-n keybuzz-vault get secret reviewer')) {
    return JSON.stringify({ type: 'kubernetes.io/service-account-token', data: { token: Buffer.from('jwt-of-the-reviewer').toString('base64') } })
  }
  throw new Error(`no answer for ${command}`)
})

const config = { kubernetes_host: 'https://10.0.0.10:6443', kubernetes_ca_cert: 'THE CA', disable_local_ca_jwt: true }
// A Vault whose reviewer's token is the one that was last written.
const withReviewer = (kept: Record<string, Data>) => {
  let token = kept['auth/k3s/config']?.['token_reviewer_jwt']
  return fakeVault({
    kept,
    answer: (method, path, data) => {
      if (method === 'write' && path === 'auth/k3s/config') token = (data as Data)['token_reviewer_jwt']
      if (path !== 'auth/k3s/login') return undefined
      assert.equal(data, { role: 'api', jwt: 'jwt-of-a-pod' })
      if (token !== 'jwt-of-the-reviewer') throw new VaultError('Vault refuses POST auth/k3s/login (403): permission denied', 403)
      return { auth: { client_token: 'hvs.x' } }
    }
  })
}

test('a mount is made where it is missing, and something else in its place is refused', async () => {
  const mounts = (kept: Record<string, Data>) => hasMount(fakeVault({ kept: { 'sys/mounts': kept } }).vault,
    { name: 'keeps secrets', list: 'sys/mounts', path: 'keybuzz', wanted: { type: 'kv', options: { version: '2' } } })
  assert.is(await mounts({}).check(), 'is missing')
  assert.is(await mounts({ 'keybuzz/': { type: 'kv', options: { version: '2' } } }).check(), '')
  for (const [there, words] of [[{ type: 'kv', options: null }, 'keybuzz/ is kv of version 1'], [{ type: 'transit' }, 'keybuzz/ is transit']] as const) {
    const error = await mounts({ 'keybuzz/': there }).check().then(() => assert.unreachable(), (thrown: Error) => thrown) as Error
    assert.instance(error, Refusal)
    assert.match(error.message, words)
  }
})

test('the configuration is compared, and shown to work with the token of a pod', async () => {
  assert.is(await knowsPods(withReviewer({ 'auth/k3s/config': { ...config, token_reviewer_jwt: 'jwt-of-the-reviewer' } }).vault, { settings, kubectl }, client).check(), '')
  const other = { ...config, kubernetes_ca_cert: 'AN OLD CA' }
  assert.is(await knowsPods(withReviewer({ 'auth/k3s/config': other }).vault, { settings, kubectl }, client).check(), 'different: kubernetes_ca_cert')
})

test('a reviewer whose token Vault no longer has is mended', async () => {
  const { vault } = withReviewer({ 'auth/k3s/config': { ...config, token_reviewer_jwt: 'an-old-one' } })
  const step = knowsPods(vault, { settings, kubectl }, client)
  assert.is(await step.check(), 'Vault refuses POST auth/k3s/login (403): permission denied')
  await step.change!()
  assert.is(await step.check(), '')
})

test('by hand no token is an argument', () => {
  const { look, byHand } = knowsPods(fakeVault().vault, { settings, kubectl }, client)
  assert.match(look, / jwt=@<\(kubectl -n keybuzz-api create token api --audience vault \| tr -d '\\n'\)$/)
  assert.match(byHand!, / token_reviewer_jwt=@<\(kubectl .* \| base64 -d\)$/)
})

test('an application reads its own path and database role, as its own account in its own namespace', async () => {
  const { vault, kept } = fakeVault()
  for (const step of mayRead(vault, settings, client)) {
    assert.is(await step.check(), 'is missing')
    await step.change!()
    assert.is(await step.check(), '')
  }
  assert.is(kept['sys/policies/acl/k3s-api']!['policy'],
    'path "keybuzz/data/api" { capabilities = ["read"] }\npath "database/creds/api" { capabilities = ["read"] }\n')
  assert.equal(kept['auth/k3s/role/api'], {
    bound_service_account_names: ['api'], bound_service_account_namespaces: ['keybuzz-api'], audience: 'vault', token_policies: ['k3s-api'], token_ttl: 24 * 3600
  })
})

test('another cluster at the same Vault has policies of its own', async () => {
  const { vault, kept } = fakeVault()
  for (const step of mayRead(vault, { ...settings, vault: { ...settings.vault, auth_path: 'k3s-staging' } }, client)) await step.change!()
  assert.equal(Object.keys(kept), ['sys/policies/acl/k3s-staging-api', 'auth/k3s-staging/role/api'])
  assert.equal(kept['auth/k3s-staging/role/api']!['token_policies'], ['k3s-staging-api'])
})

test.run()
