import pMap from 'p-map'
import { setTimeout as sleep } from 'node:timers/promises'
import { messageOf } from '../base/errors.mts'
import { until } from '../base/wait.mts'
import { is, type Node } from '../cluster/nodes.mts'
import { readManifest, withObjects } from '../cluster/objects.mts'
import { getPods, isReady, statusInWords, type Pod } from '../cluster/pods.mts'
import type { Host } from '../input/inventory.mts'
import { readEtcd, type EtcdState } from '../node/etcd.mts'
import type { Kubectl } from '../reach/kubectl.mts'
import type { Ssh } from '../reach/ssh.mts'
import type { Run } from '../run/run.mts'

// As manifests/09_drill/moving-pods.yaml has them.
const namespace = 'keybuzz-drill'
const replicas = 3

type Movers = { kubectl: Kubectl; signal: AbortSignal; busybox: string }

/** Runs the pods that are to move when their node dies, of the image `busybox`, for as long as `use` takes. */
export const withPods = async <Result,>({ kubectl, signal, busybox }: Movers, use: () => Promise<Result>): Promise<Result> => {
  const leaving = await until(async () => {
    const phase = await kubectl`get namespace ${namespace} --ignore-not-found -o 'jsonpath={.status.phase}'`
    return phase === 'Terminating' ? `the namespace ${namespace} of an earlier drill is still being removed` : ''
  }, { seconds: 60, signal })
  if (leaving !== '') throw new Error(leaving)
  const manifest = await readManifest('09_drill/moving-pods.yaml', { BUSYBOX: busybox })
  return withObjects({ kubectl, signal, manifest }, async () => {
    const lacking = await until(async () => {
      const pods = await getPods(kubectl, { namespace })
      const waiting = pods.find((pod) => !isReady(pod))
      const running = pods.filter(isReady).length
      return running >= replicas ? '' : `${running} of the drill's ${replicas} pods run: ${waiting ? statusInWords(waiting) : 'not created yet'}`
    }, { seconds: 60, signal })
    if (lacking !== '') throw new Error(lacking)
    return use()
  })
}

/** The names of the nodes that the drill's pods run on. */
export const podNodes = async (kubectl: Kubectl): Promise<string[]> =>
  (await getPods(kubectl, { namespace })).filter(isReady).map(({ spec }) => spec.nodeName ?? '')

/** True once all of the drill's pods run, and none of them on that node. */
export const runElsewhere = async (kubectl: Kubectl, node: Host): Promise<boolean> =>
  (await podNodes(kubectl)).filter((name) => name !== node.name).length >= replicas

/** The ingress pods that are ready. */
export const ingressPods = async (kubectl: Kubectl): Promise<Pod[]> =>
  (await getPods(kubectl, { namespace: 'nginx-ingress', label: 'app=nginx-ingress' })).filter(isReady)

/** A host that comes back, and what its lease said last, or '': it is back once it has renewed it. */
export type Returning = { host: Host; lease: string }

type Asking = { signal?: AbortSignal }

/** When a node last said that it lives. */
export const leaseOf = async (kubectl: Kubectl, { name }: Host, options: Asking = {}): Promise<string> =>
  kubectl(options)`-n kube-node-lease get lease ${name} -o 'jsonpath={.spec.renewTime}'`

/** In words what is wrong with the cluster: nodes, etcd, ingress. A host that was away must be back. */
export const clusterFaults = async (
  { hosts, servers, ssh, kubectl }: Pick<Run, 'hosts' | 'servers' | 'ssh' | 'kubectl'>,
  { returning, signal }: { returning?: Returning | undefined; signal: AbortSignal }
): Promise<string[]> => {
  const isBack = async ({ host, lease }: Returning): Promise<boolean> =>
    lease === '' || (await leaseOf(kubectl, host, { signal })) !== lease
  const parts = await Promise.all([
    said(() => nodeFaults(hosts, kubectl, signal)),
    said(async () => (await readQuorum(ssh, servers, signal)).faults),
    said(() => ingressFaults(kubectl, signal)),
    // Ready is what Kubernetes believes, and it believes so for 50 seconds after a node's death.
    said(async () => (returning && !(await isBack(returning)) ? [`${returning.host.name} is not back yet`] : []))
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

const nodeFaults = async (hosts: Host[], kubectl: Kubectl, signal: AbortSignal): Promise<string[]> => {
  const { items } = JSON.parse(await kubectl({ signal })`get nodes -o json`) as { items: Node[] }
  const nodes = new Map(items.map((node) => [node.metadata.name, node]))
  const voters = items.filter((node) => is(node, 'EtcdIsVoter'))
  const servers = hosts.filter(({ role }) => role === 'server')
  return [
    ...hosts.filter(({ name }) => !is(nodes.get(name), 'Ready')).map(({ name }) => `${name} is not Ready`),
    ...(voters.length === servers.length ? [] : [`etcd has ${voters.length} voters instead of ${servers.length}`])
  ]
}

const ingressFaults = async (kubectl: Kubectl, signal: AbortSignal): Promise<string[]> => {
  type DaemonSet = { status: { desiredNumberScheduled?: number; numberReady?: number } }
  const { status } = JSON.parse(await kubectl({ signal })`-n nginx-ingress get daemonset nginx-ingress -o json`) as DaemonSet
  const { desiredNumberScheduled: wanted = 0, numberReady: ready = 0 } = status
  return ready === wanted && wanted > 0 ? [] : [`${ready} of ${wanted} ingress pods are ready`]
}

type Quorum = { leader: Host | undefined; faults: string[] }

/** Which of the servers leads etcd, and in words what is wrong with etcd on them. */
export const readQuorum = async (ssh: Ssh, servers: Host[], signal: AbortSignal): Promise<Quorum> => {
  const states = await pMap(servers, (host) => stateOf(ssh, host, ['health', 'metrics'], signal))
  const leaders = servers.filter((_, index) => states[index]?.leads)
  const faults = servers.flatMap(({ name }, index) => {
    const state = states[index]
    if (!state?.healthy) return [`etcd on ${name} ${state ? 'is not healthy' : 'does not answer'}`]
    return state.isLearner ? [`etcd on ${name} is no voter yet`] : []
  })
  if (leaders.length !== 1) faults.push(`etcd has ${leaders.length} leaders`)
  return { leader: leaders.length === 1 ? leaders[0] : undefined, faults }
}

/** Waits until one of the servers leads etcd; nothing where none does in so many seconds. */
export const nextLeader = async (
  ssh: Ssh,
  servers: Host[],
  { seconds, signal }: { seconds: number; signal: AbortSignal }
): Promise<Host | undefined> => {
  const end = performance.now() + seconds * 1000
  for (;;) {
    // Not /health: while there is no leader its answer takes seconds.
    const states = await pMap(servers, (host) => stateOf(ssh, host, ['metrics'], signal))
    const leader = servers.find((_, index) => states[index]?.leads)
    if (leader || performance.now() > end) return leader
    await sleep(250, undefined, { signal })
  }
}

// A server that does not answer says nothing.
const stateOf = async (
  ssh: Ssh,
  host: Host,
  paths: ('health' | 'metrics')[],
  signal: AbortSignal
): Promise<EtcdState | undefined> => {
  try {
    return await readEtcd(ssh, host, { paths, signal, timeout: 15 })
  } catch {
    signal.throwIfAborted()
    return undefined
  }
}
