import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { defaultSettings } from '../../../lib/input/settings.mts'
import { renderMonitoring } from '../../../lib/monitoring/render.mts'
import { all, type Container, type Made, one, render, rendered, variants } from './rendered.mts'

const workloads = (objects: Made[]): Made[] => all(objects, 'Deployment', 'StatefulSet', 'DaemonSet')
const containersOf = (objects: Made[]): [string, Container][] =>
  workloads(objects).flatMap(({ metadata: { name }, spec }) => spec.template.spec.containers.map((container): [string, Container] => [name, container]))

for (const [variant, settings] of Object.entries(variants)) {
  const objects = await rendered(settings)

  test(`${variant}: every object is of a kind that the monitoring may have, in one of its namespaces`, () => {
    const kinds = new Set(objects.map(({ kind }) => kind))
    assert.equal([...kinds].filter((kind) => !['Namespace', 'ServiceAccount', 'ClusterRole', 'ClusterRoleBinding', 'ConfigMap', 'Service',
      'NetworkPolicy', 'PodDisruptionBudget', 'Ingress', 'Deployment', 'StatefulSet', 'DaemonSet'].includes(kind)), [])
    for (const { kind, metadata } of objects) {
      const isEverywhere = ['Namespace', 'ClusterRole', 'ClusterRoleBinding'].includes(kind)
      assert.ok(isEverywhere || ['monitoring', 'monitoring-nodes'].includes(metadata.namespace!), `${kind} ${metadata.name}`)
    }
    const names = objects.map(({ kind, metadata }) => `${kind} ${metadata.namespace} ${metadata.name}`)
    assert.equal(names.filter((name, index) => names.indexOf(name) !== index), [])
  })

  test(`${variant}: no pod has a right that it does not need`, () => {
    for (const { metadata: { name, namespace }, spec: { template: { spec: pod } } } of workloads(objects)) {
      const { runAsUser, runAsGroup, runAsNonRoot, seccompProfile } = pod.securityContext
      assert.ok(Number(runAsUser) > 0 && Number(runAsGroup) > 0 && runAsNonRoot === true, name)
      assert.equal(seccompProfile, { type: 'RuntimeDefault' }, name)
      assert.is(pod.automountServiceAccountToken, ['prometheus', 'kube-state-metrics'].includes(name), name)
      assert.is(pod.enableServiceLinks, false, name)
      const isOnNodes = namespace === 'monitoring-nodes'
      assert.is(pod.hostNetwork === true, isOnNodes, name)
      for (const { name: volume, hostPath } of pod.volumes ?? []) assert.ok(!hostPath || isOnNodes, `${name}: ${volume}`)
    }
    for (const [name, { securityContext = {}, resources: { requests = {}, limits = {} } = {} }] of containersOf(objects)) {
      assert.equal(securityContext, { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'] } }, name)
      assert.ok(requests['cpu'] && requests['memory'] && limits['memory'] && !limits['cpu'], name)
    }
  })

  test(`${variant}: every pod is probed, and gets the checksum of its component`, () => {
    for (const [name, { livenessProbe, readinessProbe }] of containersOf(objects)) assert.ok(livenessProbe && readinessProbe, name)
    for (const { metadata: { name }, spec: { template } } of workloads(objects)) {
      assert.equal(template.metadata.annotations, { 'keybuzz.io/checksum': `sum-of-${name}` })
      assert.is(template.metadata.labels['app'], name)
    }
  })

  test(`${variant}: what an object names is there`, () => {
    const has = (kind: string, name: string, namespace: string): boolean =>
      all(objects, kind).some(({ metadata }) => metadata.name === name && metadata.namespace === namespace)
    for (const { metadata: { name, namespace }, spec: { template: { spec: pod } } } of workloads(objects)) {
      assert.ok(has('ServiceAccount', pod.serviceAccountName, namespace!), `${name}: account`)
      const maps = [
        ...pod.containers.flatMap(({ envFrom = [] }) => envFrom.map(({ configMapRef }) => configMapRef)),
        ...(pod.volumes ?? []).flatMap(({ configMap, projected }) => [configMap, ...(projected?.sources ?? []).map((source) => source.configMap)])
      ]
      for (const map of maps) assert.ok(!map || map.name.startsWith('dashboards-') || has('ConfigMap', map.name, namespace!), `${name}: ConfigMap ${map?.name}`)
      const mounted = pod.containers.flatMap(({ volumeMounts = [] }) => volumeMounts.map((mount) => mount.name))
      const claims = { prometheus: ['data'], alertmanager: ['data'] }[name] ?? []
      assert.equal(mounted.toSorted(), [...(pod.volumes ?? []).map((volume) => volume.name), ...claims].toSorted(), name)
    }
    for (const { metadata: { name }, spec: { selector, ports } } of all(objects, 'Service')) {
      if (!selector) continue
      const [workload] = workloads(objects).filter(({ spec }) => spec.template.metadata.labels['app'] === selector['app'])
      const known = workload!.spec.template.spec.containers.flatMap((container) => container.ports ?? []).flatMap((port) => [port.name, port.containerPort])
      for (const { targetPort } of ports!) assert.ok(known.includes(targetPort!), `Service ${name}: ${targetPort}`)
    }
    for (const { metadata: { name }, spec: { podSelector } } of all(objects, 'NetworkPolicy')) {
      const app = podSelector.matchLabels?.['app']
      assert.ok(app === undefined || workloads(objects).some(({ spec }) => spec.template.metadata.labels['app'] === app), `NetworkPolicy ${name}`)
    }
  })

  test(`${variant}: no policy is without a rule but those that shut everything`, () => {
    const empty = all(objects, 'NetworkPolicy').filter(({ spec: { ingress = [], egress = [] } }) => ingress.length + egress.length === 0)
    assert.equal(empty.map(({ metadata }) => metadata.name), ['default-deny', 'default-deny'])
  })

  test(`${variant}: no secret is among the objects, only where each is`, () => {
    assert.equal(all(objects, 'Secret'), [])
    const secrets = workloads(objects).flatMap(({ spec: { template: { spec: pod } } }) => [
      ...(pod.volumes ?? []).map(({ secret }) => secret?.secretName),
      ...pod.containers.flatMap(({ env = [] }) => env.map(({ valueFrom }) => valueFrom?.secretKeyRef?.name))
    ])
    assert.equal([...new Set(secrets)].filter((name) => name !== undefined && !['exporters', 'alertmanager', 'grafana'].includes(name)), [])
  })
}

test('components come in the order in which they are needed, an exporter only where it has something to ask', async () => {
  const names = async (variant: string): Promise<string[]> => (await render(variants[variant]!)).components.map(({ name }) => name)
  assert.equal(await names('defaults'), [
    'node-exporter', 'kube-state-metrics', 'blackbox', 'postgres-exporter', 'redis-exporter', 'mysqld-exporter', 'alertmanager', 'prometheus', 'grafana'
  ])
  assert.equal(await names('odd'), ['node-exporter', 'kube-state-metrics', 'blackbox', 'postgres-exporter', 'alertmanager', 'prometheus', 'grafana'])
  assert.equal(await names('bare'), ['node-exporter', 'kube-state-metrics', 'alertmanager', 'prometheus', 'grafana'])
})

test('pods are replaced when what they read at their start changes, and for nothing else', async () => {
  const read = async (settings = defaultSettings()): Promise<Map<string, string>> => {
    const texts = new Map<string, string>()
    await renderMonitoring(settings, [], (name, of) => {
      texts.set(name, of.join('\n'))
      return 'x'
    })
    return texts
  }
  const before = await read()
  const settings = defaultSettings()
  settings.network.cluster_cidr = '10.44.0.0/16'
  assert.equal(await read(settings), before)
  settings.load_balancers.http = ['10.0.0.7']
  const after = await read(settings)
  assert.equal([...after.keys()].filter((name) => after.get(name) !== before.get(name)), ['prometheus'])
})

test('node-exporter alone has a workload and nothing before it', async () => {
  const { components } = await render(defaultSettings())
  assert.equal(components.filter(({ base }) => base === '').map(({ name }) => name), ['node-exporter'])
  const objects = await rendered(defaultSettings())
  for (const { name, kind, manifest, namespace } of components) {
    const { kind: made, metadata } = one(objects, { deployment: 'Deployment', statefulset: 'StatefulSet', daemonset: 'DaemonSet' }[kind], name)
    assert.equal([made.toLowerCase(), metadata.namespace], [kind, namespace])
    assert.match(manifest, `sum-of-${name}`)
  }
})

test.run()
