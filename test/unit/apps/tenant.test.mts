import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { parse, parseAllDocuments } from 'yaml'
import { ingressSources, notOutside } from '../../../lib/cluster/network.mts'
import { hasTenant, noTenantLeft, tenantManifest } from '../../../lib/apps/tenant.mts'
import { readManifest } from '../../../lib/cluster/objects.mts'
import { defaultSettings } from '../../../lib/input/settings.mts'
import { fakeKubectl } from '../../support/fake-kubectl.mts'

type Made = { kind: string; metadata: { name: string; namespace?: string; labels?: object }; spec?: Record<string, unknown>; automountServiceAccountToken?: boolean }

const settings = { ...defaultSettings(), tenants: [{ name: 'acme', pods: 20, cpus: 0.5, memory: 1024, storage: 10 }] }
const [acme] = settings.tenants

const objects = async (tenant = acme!): Promise<Made[]> =>
  parseAllDocuments(await tenantManifest(settings, tenant)).map((document) => {
    assert.equal(document.errors, [])
    return document.toJS() as Made
  })
const specOf = (all: Made[], kind: string, name: string): Record<string, unknown> => {
  const found = all.filter((made) => made.kind === kind && made.metadata.name === name)
  assert.is(found.length, 1, `${kind} ${name}`)
  return found[0]!.spec!
}

test('every object is in the namespace of the tenant, whose pods have no rights', async () => {
  const all = await objects()
  const namespaces = all.map(({ kind, metadata }) => (kind === 'Namespace' ? metadata.name : metadata.namespace))
  assert.equal([...new Set(namespaces)], ['tenant-acme'])
  assert.equal(all.find(({ kind }) => kind === 'Namespace')?.metadata.labels, {
    'keybuzz.io/tenant': 'acme', 'pod-security.kubernetes.io/enforce': 'restricted', 'pod-security.kubernetes.io/warn': 'restricted',
    'pod-security.kubernetes.io/audit': 'restricted'
  })
  const accounts = all.filter(({ kind }) => kind === 'ServiceAccount')
  assert.equal(accounts.map(({ metadata, automountServiceAccountToken }) => [metadata.name, automountServiceAccountToken]), [['tenant', false], ['default', false]])
})

test('its quota is that of the settings, limits of memory twice the memory, as the API wants it: text', async () => {
  assert.equal(specOf(await objects(), 'ResourceQuota', 'tenant'), {
    hard: {
      pods: '20', 'requests.cpu': '0.5', 'requests.memory': '1024Mi', 'limits.memory': '2048Mi', 'requests.storage': '10Gi',
      'services.nodeports': '0', 'services.loadbalancers': '0'
    }
  })
})

test('its pods may have no class that could evict those of KeyBuzz, and the two that they may have exist', async () => {
  const { hard, scopeSelector } = specOf(await objects(), 'ResourceQuota', 'other-priorities') as { hard: object; scopeSelector: { matchExpressions: { values: string[] }[] } }
  assert.equal(hard, { pods: '0' })
  const classes = parseAllDocuments(await readManifest('04_addons/priorities.yaml')).map((document) => document.toJS() as { metadata: { name: string }; value: number })
  const values = scopeSelector.matchExpressions[0]?.values.map((name) => classes.find(({ metadata }) => metadata.name === name)?.value)
  assert.equal(values, [10_000, 1000])
})

test('nothing goes in or out, but within, to names, from the ingress to public pods, and to HTTPS outside', async () => {
  const all = await objects()
  const policies = all.filter(({ kind }) => kind === 'NetworkPolicy').map(({ metadata }) => metadata.name)
  assert.equal(policies, ['default-deny', 'within-the-tenant', 'names', 'from-the-ingress', 'https-outside'])
  assert.equal(specOf(all, 'NetworkPolicy', 'default-deny'), { podSelector: {}, policyTypes: ['Ingress', 'Egress'] })
  assert.equal(specOf(all, 'NetworkPolicy', 'within-the-tenant')['egress'], [{ to: [{ podSelector: {} }] }])
  assert.equal(specOf(all, 'NetworkPolicy', 'from-the-ingress'), {
    podSelector: { matchLabels: { 'keybuzz.io/public': 'true' } }, policyTypes: ['Ingress'], ingress: [{ from: JSON.parse(ingressSources(settings)) }]
  })
  assert.equal(specOf(all, 'NetworkPolicy', 'https-outside')['egress'], [
    { to: [{ ipBlock: { cidr: '0.0.0.0/0', except: parse(notOutside) } }], ports: [{ protocol: 'TCP', port: 443 }] }
  ])
})

test('a name that YAML takes for something else stays a name, and no storage is none', async () => {
  const all = await objects({ ...acme!, name: 'true', storage: 0 })
  assert.equal(all[0]?.metadata, { name: 'tenant-true', labels: { ...all[0]?.metadata.labels, 'keybuzz.io/tenant': 'true' } })
  assert.is((specOf(all, 'ResourceQuota', 'tenant')['hard'] as Record<string, string>)['requests.storage'], '0Gi')
})

test('a tenant of the settings is a step, with its manifest', async () => {
  const inputs: (string | undefined)[] = []
  const kubectl = fakeKubectl((command, { input }) => {
    assert.match(command, /^diff --server-side /)
    inputs.push(input)
    return ''
  })
  const step = await hasTenant(kubectl, settings, acme!)
  assert.is(step.name, 'has the tenant acme')
  assert.is(await step.check(), '')
  assert.equal(inputs, [await tenantManifest(settings, acme!)])
})

const there = (...metadata: { name: string; deletionTimestamp?: string }[]) => fakeKubectl((command) => {
  assert.is(command, 'get namespaces -l keybuzz.io/tenant -o json')
  return JSON.stringify({ items: metadata.map((one) => ({ metadata: one })) })
})

test('a tenant that was taken out of the settings is named, and nothing deletes it', async () => {
  const step = noTenantLeft(there({ name: 'tenant-acme' }, { name: 'tenant-globex' }), settings)
  assert.is(await step.check(), '= 2 namespaces of tenants\ntenant-globex is not in the settings')
  assert.is(step.change, undefined)
  assert.match(step.hint ?? '', /kubectl delete namespace tenant-NAME$/)
  assert.match(step.look, /# expected: tenant-acme$/)
})

test('one that is being removed, and none at all, are in order', async () => {
  assert.is(await noTenantLeft(there({ name: 'tenant-globex', deletionTimestamp: '2026-11-26T10:00:00Z' }), settings).check(), '= 0 namespaces of tenants')
  const step = noTenantLeft(there(), defaultSettings())
  assert.is(await step.check(), '= 0 namespaces of tenants')
  assert.match(step.look, /# expected: none$/)
})

test.run()
