// What the tests of the applications share: all their objects, as the API gets them, and what must hold for each.
//
//     const objects = await rendered(api(defaultSettings()))
//     restricted(objects)
//     available(objects)
//     probed(objects)
//     wired('api', objects)
import * as assert from 'uvu/assert'
import { parseAllDocuments } from 'yaml'
import { type App, type AppName, namespaceOf } from '../../../lib/apps/app.mts'
import { readManifest } from '../../../lib/cluster/objects.mts'

type Named = { name: string }
type Labels = Record<string, string>
type Selector = { matchLabels?: Labels; matchExpressions?: { key: string; operator: string; values: string[] }[] }
type Probe = { httpGet?: { path: string; port: string | number }; exec?: { command: string[] } }
export type Container = Named & {
  image: string
  command?: string[]
  args?: string[]
  env?: (Named & { value?: string })[]
  envFrom?: { configMapRef?: Named; secretRef?: Named }[]
  ports?: (Named & { containerPort: number })[]
  resources?: { requests?: Record<string, string | number>; limits?: Record<string, string | number> }
  securityContext?: Record<string, unknown>
  restartPolicy?: string
  startupProbe?: Probe
  livenessProbe?: Probe
  readinessProbe?: Probe
  lifecycle?: { preStop?: { sleep?: { seconds: number } } }
}
export type Pod = {
  serviceAccountName?: string
  automountServiceAccountToken?: boolean
  enableServiceLinks?: boolean
  imagePullSecrets?: Named[]
  priorityClassName?: string
  terminationGracePeriodSeconds?: number
  securityContext?: Record<string, unknown>
  topologySpreadConstraints?: { topologyKey: string; labelSelector: Selector }[]
  initContainers?: Container[]
  containers: Container[]
  volumes?: (Named & { emptyDir?: object; configMap?: Named; secret?: object })[]
}
type Port = { port?: string | number; targetPort?: string | number; name?: string }
export type Made = {
  kind: string
  metadata: Named & { namespace?: string; annotations?: Labels; labels?: Labels }
  data?: Record<string, string>
  spec: {
    replicas?: number
    strategy?: { type?: string; rollingUpdate?: { maxUnavailable: number; maxSurge: number } }
    selector?: Selector & Labels
    podSelector?: Selector
    template: { metadata: { labels: Labels; annotations?: Labels }; spec: Pod }
    ports?: Port[]
    ingress?: { from: { ipBlock?: { cidr: string } }[]; ports?: Port[] }[]
    egress?: { to: { ipBlock?: { cidr: string; except?: string[] } }[]; ports: Port[] }[]
    rules?: { host: string; http: { paths: { path: string; pathType: string; backend: { service: Named & { port: Port } } }[] } }[]
    scaleTargetRef?: Named
    maxUnavailable?: number
    unhealthyPodEvictionPolicy?: string
  }
}

/** The checksum and the Job's name that the caller fills in. */
export const checksum = '0f1e2d'
export const job = 'job-0f1e2d'

/** Every object of an application, parsed, its placeholders filled in. */
export const rendered = async (app: App): Promise<Made[]> => {
  const texts = await Promise.all([
    ...[...app.base, ...app.edge].map(({ file, values }) => readManifest(`06_core_apps/${file}`, values)),
    ...app.migrations.map(({ part: { file, values } }) => readManifest(`06_core_apps/${file}`, { ...values, JOB: job })),
    ...app.workloads.map(({ part: { file, values } }) => readManifest(`06_core_apps/${file}`, { ...values, CHECKSUM: checksum }))
  ])
  return texts.flatMap((text) => parseAllDocuments(text)).map((document) => {
    assert.equal(document.errors, [])
    return document.toJS() as Made
  })
}

export const all = (objects: Made[], ...kinds: string[]): Made[] => objects.filter(({ kind }) => kinds.includes(kind))

export const one = (objects: Made[], kind: string, name: string): Made => {
  const found = all(objects, kind).filter(({ metadata }) => metadata.name === name)
  assert.is(found.length, 1, `${kind} ${name} is there ${found.length} times`)
  return found[0]!
}

const podOf = ({ spec }: Made): Pod => spec.template.spec
const containersOf = ({ initContainers = [], containers }: Pod): Container[] => [...initContainers, ...containers]
const labelsOf = ({ spec }: Made): Labels => spec.template.metadata.labels
const selects = ({ matchLabels = {}, matchExpressions = [] }: Selector, labels: Labels): boolean =>
  Object.entries(matchLabels).every(([key, value]) => labels[key] === value) &&
  matchExpressions.every(({ key, operator, values }) => operator === 'In' && values.includes(labels[key] ?? ''))

/** Asserts that no pod has a right that it does not need, as the profile `restricted` wants it and a little more. */
export const restricted = (objects: Made[]): void => {
  for (const made of all(objects, 'Deployment', 'Job')) {
    const { name } = made.metadata
    const pod = podOf(made)
    const { runAsUser, runAsGroup, ...context } = pod.securityContext ?? {}
    assert.ok(Number(runAsUser) > 0 && Number(runAsGroup) > 0, `${name} runs as ${String(runAsUser)}`)
    assert.is(context['runAsNonRoot'], true, name)
    assert.equal(context['seccompProfile'], { type: 'RuntimeDefault' }, name)
    assert.is(pod.automountServiceAccountToken, false, name)
    assert.is(pod.enableServiceLinks, false, name)
    for (const volume of pod.volumes ?? []) assert.ok(volume.emptyDir ?? volume.configMap ?? volume.secret, `${name}: volume ${volume.name}`)
    for (const container of containersOf(pod)) {
      const of = `${name}: ${container.name}`
      const { allowPrivilegeEscalation, readOnlyRootFilesystem, capabilities, runAsUser: user = 1, ...more } = container.securityContext ?? {}
      assert.is(allowPrivilegeEscalation, false, of)
      assert.is(readOnlyRootFilesystem, true, of)
      assert.equal(capabilities, { drop: ['ALL'] }, of)
      assert.ok(Number(user) > 0, of)
      assert.not(more['privileged'], of)
      const { requests = {}, limits = {} } = container.resources ?? {}
      assert.ok(requests['cpu'] && requests['memory'] && limits['memory'], `${of} has requests, and a limit of memory`)
    }
  }
}

/** Asserts that each Deployment outlives the loss of a node, and a drain. `singles` are those that must run only once. */
export const available = (objects: Made[], singles: string[] = []): void => {
  for (const made of all(objects, 'Deployment')) {
    const { spec, metadata: { name } } = made
    const single = singles.includes(name)
    const scaled = all(objects, 'HorizontalPodAutoscaler').some((scaler) => scaler.spec.scaleTargetRef?.name === name)
    assert.is(spec.replicas === undefined, scaled, `${name} has its replicas from the autoscaler, or its own`)
    assert.ok(selects(spec.selector ?? {}, labelsOf(made)), name)
    assert.is(spec.template.metadata.annotations?.['keybuzz.io/checksum'], checksum, name)
    assert.is(podOf(made).priorityClassName, 'keybuzz-core', name)
    const budgets = all(objects, 'PodDisruptionBudget').filter((budget) => selects(budget.spec.selector ?? {}, labelsOf(made)))
    if (single) {
      assert.is(spec.replicas, 1, name)
      assert.is(spec.strategy?.type, 'Recreate', name)
      assert.equal(budgets, [], `a budget would block the drain of ${name}`)
      continue
    }
    assert.ok(scaled || Number(spec.replicas) >= 2, name)
    assert.is(spec.strategy?.rollingUpdate?.maxUnavailable, 0, name)
    assert.equal(budgets.map((budget) => [budget.spec.maxUnavailable, budget.spec.unhealthyPodEvictionPolicy]), [[1, 'AlwaysAllow']], name)
    const [spread] = podOf(made).topologySpreadConstraints ?? []
    assert.ok(spread?.topologyKey === 'kubernetes.io/hostname' && selects(spread.labelSelector, labelsOf(made)), `${name} is spread over nodes`)
  }
}

/** Asserts that each container of a Deployment has its probes, but those in `without`, and time to end. */
export const probed = (objects: Made[], without: string[] = []): void => {
  for (const made of all(objects, 'Deployment')) {
    const { containers, terminationGracePeriodSeconds: grace = 30 } = podOf(made)
    for (const container of containers.filter(({ name }) => !without.includes(name))) {
      const of = `${made.metadata.name}: ${container.name}`
      const { startupProbe, livenessProbe, readinessProbe, ports = [] } = container
      assert.ok(startupProbe && livenessProbe && readinessProbe, `${of} has a probe of each kind`)
      const known = ports.flatMap(({ name, containerPort }) => [name, containerPort])
      for (const { httpGet } of [startupProbe, livenessProbe, readinessProbe]) assert.ok(!httpGet || known.includes(httpGet.port), of)
      assert.ok(grace > (container.lifecycle?.preStop?.sleep?.seconds ?? 0), of)
    }
  }
}

/** Asserts that what an object names is there: namespace, account, ConfigMaps, Secret, Services, ports, and pods of policies. */
export const wired = (app: AppName, objects: Made[]): void => {
  const maps = all(objects, 'ConfigMap').map(({ metadata }) => metadata.name)
  const workloads = all(objects, 'Deployment', 'Job')
  for (const { kind, metadata } of objects) assert.is(metadata.namespace, namespaceOf(app), `${kind} ${metadata.name}`)
  for (const made of workloads) {
    const pod = podOf(made)
    assert.is(pod.serviceAccountName, app, made.metadata.name)
    const sources = containersOf(pod).flatMap(({ envFrom = [] }) => envFrom)
    const named = [...sources.map(({ configMapRef }) => configMapRef), ...(pod.volumes ?? []).map(({ configMap }) => configMap)]
    for (const map of named) assert.ok(!map || maps.includes(map.name), `${made.metadata.name}: ConfigMap ${map?.name}`)
    for (const { secretRef } of sources) assert.ok(!secretRef || secretRef.name === app, made.metadata.name)
  }
  const isPort = (port: Port[keyof Port], selector: Selector): boolean =>
    workloads.filter((made) => selects(selector, labelsOf(made))).some((made) =>
      containersOf(podOf(made)).some(({ ports = [] }) => ports.some(({ name, containerPort }) => port === name || port === containerPort)))
  for (const { metadata: { name }, spec } of all(objects, 'Service'))
    for (const { targetPort } of spec.selector ? spec.ports! : [])
      assert.ok(isPort(targetPort, { matchLabels: spec.selector! as Labels }), `Service ${name}: no pod listens at ${targetPort}`)
  for (const { metadata: { name }, spec } of all(objects, 'NetworkPolicy')) {
    assert.ok(workloads.some((made) => selects(spec.podSelector!, labelsOf(made))), `NetworkPolicy ${name} is for no pod`)
    for (const { port } of spec.ingress?.flatMap(({ ports = [] }) => ports) ?? [])
      assert.ok(isPort(port, spec.podSelector!), `NetworkPolicy ${name}: no pod listens at ${port}`)
  }
  for (const { spec } of all(objects, 'Ingress'))
    for (const { service } of spec.rules!.flatMap(({ http }) => http.paths).map(({ backend }) => backend))
      assert.ok(one(objects, 'Service', service.name).spec.ports!.some(({ name }) => name === service.port.name), `Ingress to ${service.name}`)
}
