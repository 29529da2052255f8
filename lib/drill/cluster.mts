import { until } from '../base/wait.mts'
import { messageOf } from '../base/errors.mts'
import { etcd } from './cuts.mts'
import type { Run } from '../run/run.mts'
import type { Host } from '../input/inventory.mts'
import { getNodes, is, type Kubectl } from '../reach/kubectl.mts'
import { withObjects } from '../cluster/trial.mts'

type Pod = {
  metadata: { name: string; uid: string; deletionTimestamp?: string }
  spec: { nodeName?: string }
  status: {
    conditions?: { type: string; status: string }[]
    containerStatuses?: { state?: { waiting?: { reason?: string } } }[]
  }
}

const namespace = 'keybuzz-drill'
const replicas = 3

// As an application's pods that are to move soon: Kubernetes waits 300 seconds by default once a node is known to be
// dead. Not on servers: their taint may be off.
const manifest = `apiVersion: v1
kind: Namespace
metadata:
  name: ${namespace}
  labels:
    pod-security.kubernetes.io/enforce: restricted
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: moving
  namespace: ${namespace}
spec:
  replicas: ${replicas}
  selector:
    matchLabels: {app: moving}
  template:
    metadata:
      labels: {app: moving}
    spec:
      affinity:
        nodeAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
            nodeSelectorTerms:
              - matchExpressions:
                  - {key: node-role.kubernetes.io/control-plane, operator: DoesNotExist}
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels: {app: moving}
      tolerations:
        - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 10}
        - {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 10}
      automountServiceAccountToken: false
      enableServiceLinks: false
      terminationGracePeriodSeconds: 1
      securityContext:
        runAsNonRoot: true
        runAsUser: 65534
        runAsGroup: 65534
        seccompProfile: {type: RuntimeDefault}
      containers:
        - name: moving
          image: docker.io/rancher/mirrored-library-busybox:1.37.0
          imagePullPolicy: IfNotPresent
          command: [sleep, '86400']
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {drop: [ALL]}
          resources:
            requests: {cpu: 1m, memory: 4Mi}
            limits: {memory: 16Mi}
`

const podsOf = async (kubectl: Kubectl, args: string[]): Promise<Pod[]> =>
  (JSON.parse(await kubectl([...args, 'get', 'pods', '-o', 'json'])) as { items: Pod[] }).items

const isReady = ({ metadata, status }: Pod): boolean =>
  metadata.deletionTimestamp === undefined &&
  (status.conditions ?? []).some(({ type, status: so }) => type === 'Ready' && so === 'True')

/** Runs the pods that are to move when their node dies, for as long as `use` takes. */
export const withPods = async <Result,>(kubectl: Kubectl, signal: AbortSignal, use: () => Promise<Result>): Promise<Result> => {
  const leaving = await until(async () => {
    const phase = await kubectl(['get', 'namespace', namespace, '--ignore-not-found', '-o', 'jsonpath={.status.phase}'])
    return phase === 'Terminating' ? `the namespace ${namespace} of an earlier drill is still being removed` : ''
  }, { seconds: 60, signal })
  if (leaving !== '') throw new Error(leaving)
  return withObjects({ kubectl, signal, manifest }, async () => {
    const lacking = await until(async () => {
      const pods = await podsOf(kubectl, ['-n', namespace])
      const waiting = pods.flatMap(({ status }) => status.containerStatuses ?? []).map(({ state }) => state?.waiting?.reason)
      const running = pods.filter(isReady).length
      return running >= replicas ? '' : `${running} of the drill's ${replicas} pods run: ${waiting.find(Boolean) ?? 'not scheduled yet'}`
    }, { seconds: 60, signal })
    if (lacking !== '') throw new Error(lacking)
    return use()
  })
}

/** The names of the nodes that the drill's pods run on. */
export const podNodes = async (kubectl: Kubectl): Promise<string[]> =>
  (await podsOf(kubectl, ['-n', namespace])).filter(isReady).map(({ spec }) => spec.nodeName ?? '')

/** True once all of the drill's pods run, and none of them on that node. */
export const runElsewhere = async (kubectl: Kubectl, node: Host): Promise<boolean> =>
  (await podNodes(kubectl)).filter((name) => name !== node.name).length >= replicas

/** The ingress pods, ready ones only: node and pod. */
export const ingressPods = async (kubectl: Kubectl): Promise<{ node: string; name: string; uid: string }[]> => {
  const pods = await podsOf(kubectl, ['-n', 'nginx-ingress', '-l', 'app=nginx-ingress'])
  return pods.filter(isReady).map(({ metadata: { name, uid }, spec }) => ({ node: spec.nodeName ?? '', name, uid }))
}

/** A host that was away, and what its lease said last, or '': it is back once it has renewed it. */
export type Away = { host: Host; lease: string }

/** When a node last said that it lives. */
export const leaseOf = async (kubectl: Kubectl, { name }: Host): Promise<string> =>
  kubectl(['-n', 'kube-node-lease', 'get', 'lease', name, '-o', 'jsonpath={.spec.renewTime}'])

/** In words what of the cluster is not as it should be: nodes, etcd, ingress. A node that was away must be back. */
export const clusterFaults = async (
  { hosts, servers }: Run,
  { kubectl, away, signal }: { kubectl: Kubectl; away?: Away | undefined; signal: AbortSignal }
): Promise<string[]> => {
  const parts = await Promise.all([
    said(() => nodeFaults(hosts, kubectl)),
    said(async () => (await etcd(servers, signal)).faults),
    said(() => ingressFaults(kubectl)),
    // Ready is what Kubernetes believes, and it believes so for 50 seconds after a node's death.
    said(async () => (away?.lease && (await leaseOf(kubectl, away.host)) === away.lease ? [`${away.host.name} is not back yet`] : []))
  ])
  return [...new Set(parts.flat())]
}

const said = async (ask: () => Promise<string[]>): Promise<string[]> => {
  try {
    return await ask()
  } catch (error) {
    return [messageOf(error)]
  }
}

const nodeFaults = async (hosts: Host[], kubectl: Kubectl): Promise<string[]> => {
  const nodes = await getNodes(kubectl)
  const voters = [...nodes.values()].filter((node) => is(node, 'EtcdIsVoter'))
  const servers = hosts.filter(({ role }) => role === 'server')
  return [
    ...hosts.filter(({ name }) => !is(nodes.get(name), 'Ready')).map(({ name }) => `${name} is not Ready`),
    ...(voters.length === servers.length ? [] : [`etcd has ${voters.length} voters instead of ${servers.length}`])
  ]
}

const ingressFaults = async (kubectl: Kubectl): Promise<string[]> => {
  type DaemonSet = { status: { desiredNumberScheduled?: number; numberReady?: number } }
  const { status } = JSON.parse(
    await kubectl(['-n', 'nginx-ingress', 'get', 'daemonset', 'nginx-ingress', '-o', 'json'])
  ) as DaemonSet
  const { desiredNumberScheduled: wanted = 0, numberReady: ready = 0 } = status
  return ready === wanted && wanted > 0 ? [] : [`${ready} of ${wanted} ingress pods are ready`]
}
