import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { defaultSettings } from '../../../lib/input/settings.mts'
import { Refusal } from '../../../lib/run/step.mts'
import { rightsToRemove } from '../../../lib/vault/removal.mts'
import { mayDoAll, policyLines, rightsFor } from '../../../lib/vault/rights.mts'
import { fakeVault } from '../../support/fake-vault.mts'

const rights = rightsFor(defaultSettings(), [])
const withRights = (granted: (path: string) => string[]) => fakeVault({
  answer: (_, path, data) => {
    assert.is(path, 'sys/capabilities-self')
    return { data: Object.fromEntries((data as { paths: string[] }).paths.map((one) => [one, granted(one)])) }
  }
}).vault

test('a token that may do all, and one of root, holds', async () => {
  assert.is(await mayDoAll(withRights(() => ['root']), rights).check(), '')
  assert.is(await mayDoAll(withRights((path) => rights.find((one) => one.path === path)!.capabilities), rights).check(), '')
})

test('what a token lacks is refused, with the lines to add', async () => {
  const step = mayDoAll(withRights((path) => (path === 'sys/auth/k3s' ? ['create', 'update'] : path === 'sys/mounts' ? ['deny'] : ['root'])), rights)
  const error = await step.check().then(() => assert.unreachable(), (thrown: Error) => thrown) as Error
  assert.instance(error, Refusal)
  assert.equal(error.message.split('\n').slice(1), [
    'path "sys/auth/k3s" { capabilities = ["sudo"] }', 'path "sys/mounts" { capabilities = ["read"] }'
  ])
})

test('the lines are a policy of Vault', () => {
  assert.is(policyLines([{ path: 'sys/auth/k3s', capabilities: ['create', 'update', 'sudo'] }]), 'path "sys/auth/k3s" { capabilities = ["create", "update", "sudo"] }')
})

test("two clusters of one Vault have policies of their own, as they have paths of their own", () => {
  const other = defaultSettings()
  other.vault.auth_path = 'k3s-staging'
  const paths = [...rightsFor(other, ['n8n']), ...rightsToRemove(other, 'n8n')].map(({ path }) => path)
  assert.equal([...new Set(paths.filter((path) => path.startsWith('sys/policies/')))],
    ['sys/policies/acl/k3s-staging-vault-canary', 'sys/policies/acl/k3s-staging-n8n'])
})

test('the page has the whole policy', () => {
  const page = readFileSync(join(import.meta.dirname, '../../../docs/vault.md'), 'utf8')
  assert.ok(page.includes(policyLines(rights)))
  const ofN8n = rightsFor(defaultSettings(), ['n8n']).filter((one) => !rights.some(({ path }) => path === one.path))
  assert.ok(page.includes(policyLines(ofN8n)))
  assert.ok(page.includes(policyLines(rightsToRemove(defaultSettings(), 'n8n'))))
})

test.run()
