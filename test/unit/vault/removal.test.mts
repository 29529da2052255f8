import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { UsageError } from '../../../lib/base/errors.mts'
import { defaultSettings } from '../../../lib/input/settings.mts'
import { isRemoved, refuseUsed } from '../../../lib/vault/removal.mts'
import { fakeKubectl } from '../../support/fake-kubectl.mts'
import { fakeVault } from '../../support/fake-vault.mts'

const settings = defaultSettings()
const known = ['api', 'n8n']
const n8n = { app: 'n8n', namespace: 'keybuzz-n8n' }
const podsWith = (...annotations: Record<string, string>[]) =>
  fakeKubectl((command) => JSON.stringify({ items: (command.includes('status.phase!=Succeeded,status.phase!=Failed') ? annotations : []).map((one, index) => ({ metadata: { name: `pod-${index}`, annotations: one } })) }))

const withN8n = () => {
  const made = fakeVault({
    kept: { 'auth/k3s/role/n8n': {}, 'database/roles/n8n': {}, 'sys/policies/acl/k3s-n8n': {}, 'keybuzz/data/n8n': { data: {} } },
    answer: (method, path) => {
      if (path === 'sys/leases/lookup/database/creds/n8n/') return { data: { keys: revoked ? [] : ['one', 'two'] } }
      if (method === 'write' && path === 'sys/leases/revoke-prefix/database/creds/n8n') revoked = true
      return undefined
    }
  })
  let revoked = false
  return made
}

test('role, users and policy go, the secrets stay', async () => {
  const { vault, kept } = withN8n()
  const steps = isRemoved(vault, podsWith({}), settings, n8n)
  assert.equal(await Promise.all(steps.map((step) => step.check())), ['', 'is still there', '2 leases', 'is still there', 'is still there'])
  for (const { change } of steps) await change?.()
  assert.equal(await Promise.all(steps.map((step) => step.check())), ['', '', '', '', ''])
  assert.ok('keybuzz/data/n8n' in kept)
  assert.equal(Object.keys(kept).filter((path) => path.includes('role') || path.includes('polic')), [])
})

test("the policy that goes is this cluster's", async () => {
  const other = { ...settings, vault: { ...settings.vault, auth_path: 'k3s-staging' } }
  const { vault, kept } = fakeVault({ kept: { 'sys/policies/acl/k3s-n8n': {}, 'sys/policies/acl/k3s-staging-n8n': {} } })
  await isRemoved(vault, podsWith(), other, n8n).at(-1)!.change!()
  assert.equal(Object.keys(kept), ['sys/policies/acl/k3s-n8n'])
})

test('a pod that still needs it is named', async () => {
  const [pods] = isRemoved(fakeVault().vault, podsWith({}, { 'keybuzz.io/vault-agent': 'vault-agent' }), settings, n8n)
  assert.is(await pods!.check(), 'pod-1')
  assert.is(pods!.change, undefined)
})

test('an application of the settings, and one that does not exist, are refused before anything is asked', () => {
  const used = { ...settings, vault: { ...settings.vault, apps: ['n8n' as const] } }
  assert.throws(() => refuseUsed(used, 'n8n', known), (error: unknown) => error instanceof UsageError && /Take n8n out of vault\.apps/.test(error.message))
  assert.throws(() => refuseUsed(settings, 'shop', known), (error: unknown) => error instanceof UsageError && /one of api, n8n/.test(error.message))
  refuseUsed(settings, 'n8n', known)
})

test.run()
