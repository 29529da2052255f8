import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { parseAllDocuments } from 'yaml'
import { takesTenants, tenantManifest } from '../../../lib/cluster/tenant.mts'
import { fakeKubectl } from '../../support/fake-kubectl.mts'
import { commands } from '../../support/node-shell.mts'

type Made = { kind: string; metadata: { name: string; namespace?: string }; spec?: { ingress?: { from: unknown[] }[] } }

const objects = (manifest: string): Made[] => parseAllDocuments(manifest).map((document) => {
  assert.equal(document.errors, [])
  return document.toJS() as Made
})
const ingressOf = (manifest: string) => objects(manifest).find(({ metadata }) => metadata.name === 'from-the-ingress')?.spec?.ingress

test('a tenant is let in from both ends of the pod network of every node, and every object is in its namespace', async () => {
  const kubectl = fakeKubectl((command) => {
    assert.is(command, "get nodes -o 'jsonpath={.items[*].spec.podCIDR}'")
    return '10.42.0.0/24 10.42.13.0/24'
  })
  const manifest = await tenantManifest(kubectl, 'acme')
  assert.equal(ingressOf(manifest), [{
    from: ['10.42.0.0', '10.42.0.1', '10.42.13.0', '10.42.13.1'].map((address) => ({ ipBlock: { cidr: `${address}/32` } }))
  }])
  const namespaces = objects(manifest).map(({ kind, metadata }) => (kind === 'Namespace' ? metadata.name : metadata.namespace))
  assert.equal([...new Set(namespaces)], ['acme'])
})

test('the API is only asked whether it would take them, and what it refuses is told', async () => {
  const asked: string[] = []
  const kubectl = (refuses: boolean) => fakeKubectl((command, { input }) => {
    if (input === undefined) return '10.42.0.0/24'
    asked.push(command)
    if (refuses) throw new Error('unknown field "spec.podSelectr"')
    return ''
  })
  assert.is(await takesTenants(kubectl(false)).check(), '')
  assert.equal(asked, ['apply --server-side --force-conflicts --dry-run=server -f -'])
  await takesTenants(kubectl(true)).check().then(() => assert.unreachable(), (error: Error) => assert.match(error.message, /unknown field/))
})

test('by hand the template is filled in and the API asked the same', () => {
  const { look } = takesTenants(fakeKubectl(() => ''))
  const path = `${commands({ kubectl: 'echo "# kubectl $*"; cat' })}:${process.env['PATH']}`
  const { stdout } = spawnSync('bash', ['-c', look], { cwd: join(import.meta.dirname, '../../..'), env: { ...process.env, PATH: path }, encoding: 'utf8' })
  assert.match(stdout, /^# kubectl apply --server-side --force-conflicts --dry-run=server -f -\n/)
  assert.equal(ingressOf(stdout), [{ from: [] }])
  assert.not.match(stdout, /\$\{/)
})

test.run()
