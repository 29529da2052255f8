// Vault's agent in pods: added to each that asks for it, whatever else is in it, and to no other.
import * as assert from 'uvu/assert'
import { labUp } from '../nodes.mts'
import { converge, kubectl, tryKubectl, until } from './cluster.mts'
import { test } from './timed.mts'

await labUp()
await converge('--only', '08')

const namespace = 'lab-vault'
await tryKubectl(['apply', '-f', '-'], {
  input: JSON.stringify({
    apiVersion: 'v1', kind: 'Namespace',
    metadata: { name: namespace, labels: { 'keybuzz.io/vault': 'on', 'pod-security.kubernetes.io/enforce': 'restricted' } }
  })
})
await until('the namespace has its account', 30, async () => (await kubectl('-n', namespace, 'get', 'serviceaccount', 'default', '-o', 'name')) !== '')

type Mount = { name: string; mountPath: string; readOnly?: boolean; subPath?: string }
type Container = { name: string; image?: string; restartPolicy?: string; volumeMounts?: Mount[]; resources?: Record<string, Record<string, string>> }
type Volume = { name: string; emptyDir?: { medium?: string; sizeLimit?: string }; configMap?: { name: string } }
type Spec = { containers: Container[]; initContainers?: Container[]; volumes?: Volume[]; [other: string]: unknown }

const restricted = {
  allowPrivilegeEscalation: false, runAsNonRoot: true, runAsUser: 1000, capabilities: { drop: ['ALL'] }, seccompProfile: { type: 'RuntimeDefault' }
}
const container = (name: string, more: object = {}): Container =>
  ({ name, image: 'rancher/mirrored-library-busybox:1.37.0', securityContext: restricted, ...more }) as Container

// No token of the API server's own, so that the mounts are those of the pod and of the agent alone.
const pod = (spec: Spec, annotations: Record<string, string> = { 'keybuzz.io/vault-agent': 'app' }, where = namespace): string =>
  JSON.stringify({
    apiVersion: 'v1', kind: 'Pod', metadata: { name: 'trial', namespace: where, annotations }, spec: { automountServiceAccountToken: false, ...spec }
  })
const dry = (input: string) => tryKubectl(['create', '--dry-run=server', '-o', 'json', '-f', '-'], { input })

const admitted = async (input: string): Promise<Required<Spec>> => {
  const { stdout, stderr, exitCode } = await dry(input)
  assert.is(exitCode, 0, stderr)
  const { spec } = JSON.parse(stdout) as { spec: Spec }
  return { initContainers: [], volumes: [], ...spec }
}
const refused = async (input: string, expected: RegExp): Promise<void> => {
  const { stderr, exitCode } = await dry(input)
  assert.is(exitCode, 1, 'it was let in')
  assert.match(stderr, expected)
}

const secrets: Mount = { name: 'vault-secrets', mountPath: '/vault/secrets', readOnly: true }
const mounts = (containers: Container[]): Record<string, Mount[]> =>
  Object.fromEntries(containers.map(({ name, volumeMounts = [] }) => [name, volumeMounts]))
const names = (items: { name: string }[]): string[] => items.map(({ name }) => name)
const added = ['vault-home', 'vault-agent', 'vault-token']

test('a pod that has nothing gets the agent, its volumes and its mount', async () => {
  const { containers, initContainers, volumes } = await admitted(pod({ containers: [container('app')] }))
  assert.equal(names(initContainers), ['vault-agent'])
  assert.is(initContainers[0]!.restartPolicy, 'Always')
  assert.equal(names(volumes), ['vault-secrets', ...added])
  assert.equal(volumes[0]!.emptyDir, { medium: 'Memory', sizeLimit: '4Mi' })
  assert.is(volumes[2]!.configMap!.name, 'app')
  assert.equal(mounts(containers), { app: [secrets] })
  assert.equal(Object.keys(initContainers[0]!.resources!['limits']!), ['memory'])
})

test('each container and init container gets the mount, also beside mounts and volumes of its own; the agent is the first', async () => {
  const data: Mount = { name: 'data', mountPath: '/data' }
  const { containers, initContainers, volumes } = await admitted(pod({
    containers: [container('app', { volumeMounts: [data] }), container('helper')],
    initContainers: [container('migrate'), container('proxy', { restartPolicy: 'Always', volumeMounts: [data] })],
    volumes: [{ name: 'data', emptyDir: {} }]
  }))
  assert.equal(names(initContainers), ['vault-agent', 'migrate', 'proxy'])
  assert.equal(names(volumes), ['data', 'vault-secrets', ...added])
  assert.equal(mounts(containers), { app: [data, secrets], helper: [secrets] })
  assert.equal(mounts(initContainers.slice(1)), { migrate: [secrets], proxy: [data, secrets] })
})

test('who declares the volume keeps it, who mounts it itself gets no second mount', async () => {
  const whole: Mount = { name: 'vault-secrets', mountPath: '/etc/app', readOnly: true }
  const file: Mount = { name: 'vault-secrets', mountPath: '/app/.env', subPath: 'env', readOnly: true }
  const own: Volume = { name: 'vault-secrets', emptyDir: { medium: 'Memory', sizeLimit: '1Mi' } }
  const { containers, initContainers, volumes } = await admitted(pod({
    containers: [container('app', { volumeMounts: [file] }), container('helper')],
    initContainers: [container('migrate', { volumeMounts: [whole] })],
    volumes: [own]
  }))
  assert.equal(volumes[0], own)
  assert.equal(names(volumes), ['vault-secrets', ...added])
  assert.equal(mounts(containers), { app: [file], helper: [secrets] })
  assert.equal(mounts(initContainers.slice(1)), { migrate: [whole] })
})

test('a mount of a volume that only the agent brings is enough', async () => {
  const file: Mount = { name: 'vault-secrets', mountPath: '/app/.env', subPath: 'env', readOnly: true }
  const { containers, volumes } = await admitted(pod({ containers: [container('app', { volumeMounts: [file] })] }))
  assert.equal(mounts(containers), { app: [file] })
  assert.equal(names(volumes), ['vault-secrets', ...added])
})

test('a pod of many containers with many mounts is within what the API server computes', async () => {
  const volumes = Array.from({ length: 30 }, (_, index) => ({ name: `data-${index}`, emptyDir: {} }))
  const volumeMounts = volumes.map(({ name }) => ({ name, mountPath: `/${name}` }))
  const many = (kind: string): Container[] => Array.from({ length: 20 }, (_, index) => container(`${kind}-${index}`, { volumeMounts }))
  const { containers, initContainers } = await admitted(pod({ containers: many('app'), initContainers: many('init'), volumes }))
  const last = [...containers, ...initContainers.slice(1)].map(({ volumeMounts = [] }) => volumeMounts.at(-1))
  assert.is(last.length, 40)
  assert.ok(last.every((mount) => mount?.name === 'vault-secrets'))
})

test('what a namespace asks of every container, the agent has too', async () => {
  const limits = JSON.stringify({
    apiVersion: 'v1', kind: 'LimitRange', metadata: { name: 'lab', namespace },
    spec: { limits: [{ type: 'Container', default: { 'ephemeral-storage': '1Gi' }, defaultRequest: { 'ephemeral-storage': '64Mi' }, max: { 'ephemeral-storage': '2Gi' } }] }
  })
  await tryKubectl(['apply', '-f', '-'], { input: limits })
  try {
    await until('the agent has the default of its namespace', 30, async () => {
      const { initContainers } = await admitted(pod({ containers: [container('app')] }))
      return initContainers[0]!.resources!['limits']!['ephemeral-storage'] === '1Gi'
    })
  } finally {
    await kubectl('-n', namespace, 'delete', 'limitrange', 'lab')
  }
})

test('pods without the annotation, and pods of namespaces that did not opt in, are left as they are', async () => {
  const bare: Spec = { containers: [container('app')] }
  for (const input of [pod(bare, {}), pod(bare, { 'vault.hashicorp.com/agent-inject': 'true' }), pod(bare, undefined, 'default')]) {
    const { containers, initContainers, volumes } = await admitted(input)
    assert.equal([names(initContainers), names(volumes), mounts(containers)], [[], [], { app: [] }])
  }
})

test('kube-system is left alone, also if somebody labels it', async () => {
  await kubectl('label', 'namespace', 'kube-system', 'keybuzz.io/vault=on')
  try {
    const input = pod({ containers: [container('app')] }, undefined, 'kube-system')
    for (const end = Date.now() + 5000; Date.now() < end;) assert.equal(names((await admitted(input)).initContainers), [])
  } finally {
    await kubectl('label', 'namespace', 'kube-system', 'keybuzz.io/vault-')
  }
})

test('a name that no ConfigMap can have is refused, and so are a volume on disk and what collides with the agent', async () => {
  const bare: Spec = { containers: [container('app')] }
  for (const name of ['', 'My_App', '../app', 'a b', 'x'.repeat(254)]) {
    await refused(pod(bare, { 'keybuzz.io/vault-agent': name }),
      new RegExp(`the annotation keybuzz.io/vault-agent must be the name of a ConfigMap of this namespace .*, and is "${name}"`))
  }
  await refused(pod({ ...bare, volumes: [{ name: 'vault-secrets', emptyDir: {} }] }), /vault-secrets must be an emptyDir with medium: Memory/)
  await refused(pod({ containers: [container('vault-agent')] }), /Duplicate value: "vault-agent"/)
  await refused(pod({ ...bare, volumes: [{ name: 'vault-token', emptyDir: {} }] }), /Duplicate value: "vault-token"/)
})

test('without the policy no pod with the annotation is let in', async () => {
  const binding = await kubectl('get', 'mutatingadmissionpolicybinding', 'vault-agent', '-o', 'json')
  await kubectl('delete', 'mutatingadmissionpolicybinding', 'vault-agent')
  try {
    await until('the binding is gone everywhere', 30, async () => (await dry(pod({ containers: [container('app')] }))).exitCode !== 0)
    await refused(pod({ containers: [container('app')] }), /no agent was added to this pod.*09_k3s_08/)
  } finally {
    await tryKubectl(['create', '-f', '-'], { input: JSON.stringify({ ...JSON.parse(binding), metadata: { name: 'vault-agent' } }) })
  }
  await until('the agent is added again', 30, async () => (await dry(pod({ containers: [container('app')] }))).exitCode === 0)
})

// Vault is not asked here: no file must be there before the application begins, and nobody answers at the address.
const configuration = `vault { address = "https://127.0.0.1:1" }
auto_auth {
  method "kubernetes" { config = { role = "nobody", token_path = "/var/run/secrets/vault/token" } }
  sink "file" { config = { path = "/home/vault/.vault-token" } }
}`
const annotations = { 'keybuzz.io/vault-agent': 'nothing' }
const apply = async (...items: object[]): Promise<void> => {
  const nothing = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'nothing', namespace }, data: { 'agent.hcl': configuration, files: '', 'ca.crt': '' } }
  const { exitCode, stderr } = await tryKubectl(['apply', '-f', '-'], { input: JSON.stringify({ apiVersion: 'v1', kind: 'List', items: [nothing, ...items] }) })
  assert.is(exitCode, 0, stderr)
}

test('the pods of Jobs and CronJobs have the agent, and end with their work though no Vault answers', async () => {
  const work = container('work', { command: ['sh', '-c', 'ls /vault/secrets && echo done'] })
  const job = { backoffLimit: 0, template: { metadata: { annotations }, spec: { restartPolicy: 'Never', containers: [work] } } }
  await apply(
    { apiVersion: 'batch/v1', kind: 'Job', metadata: { name: 'job', namespace }, spec: job },
    { apiVersion: 'batch/v1', kind: 'CronJob', metadata: { name: 'cron', namespace }, spec: { schedule: '@yearly', jobTemplate: { spec: job } } }
  )
  await kubectl('-n', namespace, 'create', 'job', 'cron-now', '--from=cronjob/cron')
  await kubectl('-n', namespace, 'wait', '--for=condition=Complete', 'job/job', 'job/cron-now', '--timeout=90s')
  const pods = JSON.parse(await kubectl('-n', namespace, 'get', 'pods', '-o', 'json')) as { items: { spec: Spec }[] }
  assert.ok(pods.items.every(({ spec }) => spec.initContainers?.[0]?.name === 'vault-agent'))
})

test('an agent that dies is there again, and the pod has been ready all the time; it ends after the application', async () => {
  const said = 'trap "sleep 3; touch /vault/secrets/x 2> /dev/null || echo read-only; exit" TERM; while :; do sleep 0.2; done'
  const spec = { automountServiceAccountToken: false, containers: [container('app', { command: ['sh', '-c', said] })] }
  await apply({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'app', namespace, annotations }, spec })
  await kubectl('-n', namespace, 'wait', '--for=condition=Ready', 'pod/app', '--timeout=90s')
  const since = (): Promise<string> => kubectl('-n', namespace, 'get', 'pod', 'app', '-o', 'jsonpath={.status.conditions[?(@.type=="Ready")]}{.status.initContainerStatuses[0].restartCount}')
  const agent = (): Promise<string> => kubectl('-n', namespace, 'exec', 'app', '-c', 'vault-agent', '--', 'pidof', 'vault')
  const [before, first] = [await since(), await agent()]
  await kubectl('-n', namespace, 'exec', 'app', '-c', 'vault-agent', '--', 'kill', '-9', first)
  await until('another agent runs', 30, async () => ![first, ''].includes(await agent()))
  assert.is(await since(), before)

  const logs = Promise.all(['app', 'vault-agent'].map((name) => kubectl('-n', namespace, 'logs', '-f', 'app', '-c', name, '--timestamps', '--tail=1')))
  await kubectl('-n', namespace, 'delete', 'pod', 'app')
  const [app = '', sidecar = ''] = await logs
  const last = sidecar.split('\n').find((line) => line.includes('Error revoking token'))
  assert.match(app, /read-only/)
  assert.ok(last !== undefined && last > app, `the application: ${app}\nthe agent: ${sidecar}`)
})

test.after(async () => {
  await kubectl('delete', 'namespace', namespace, '--ignore-not-found')
})

test.run()
