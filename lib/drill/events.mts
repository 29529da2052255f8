import { setTimeout as sleep } from 'node:timers/promises'
import type { Host } from '../input/inventory.mts'
import type { Kubectl } from '../reach/kubectl.mts'
import type { Ssh } from '../reach/ssh.mts'
import type { DrillContext, DrillEvent, Seen } from './away.mts'
import { ingressPods, nextLeader, podNodes, readQuorum, runElsewhere } from './cluster.mts'
import { dead, killK3s, killPod, partition, scripted } from './cuts.mts'
import type { Power } from './power.mts'

/** What the events are made from. */
export type EventContext = DrillContext & {
  servers: Host[]
  agents: Host[]
  ssh: Ssh
  kubectl: Kubectl
  power: Power | undefined
}

/** Seconds without a failed request after which the cluster has got over a loss. */
const CALM = 10

/** K3s dies as by the kernel's out-of-memory killer. The machine lives, and refuses connections at once. */
export const killLeader = async (context: EventContext): Promise<DrillEvent> => {
  const { leader, others } = await split(context)
  return {
    what: 'etcd leader killed',
    cut: scripted(context.ssh, leader, { how: 'SIGKILL to its k3s, which is held down', script: killK3s }),
    whileAway: async (since) => ({
      ...(await newLeader(context, others, since)),
      ...(await untilCalm(context, since, { least: 20, most: 90 }))
    })
  }
}

/** Nobody is told: connections to the machine hang until a timeout. */
export const loseLeader = async (context: EventContext): Promise<DrillEvent> => {
  const { leader, others } = await split(context)
  return {
    what: "etcd leader's machine dies",
    cut: dead(context.ssh, leader, context.power),
    whileAway: async (since) => ({
      ...(await newLeader(context, others, since)),
      ...(await untilCalm(context, since, { least: 20, most: 150 }))
    })
  }
}

/** Long enough for Kubernetes to see that the worker is dead (50 s), and to run its pods elsewhere. */
export const loseWorker = async (context: EventContext): Promise<DrillEvent> => {
  const { agents, kubectl, ssh, power, signal, note } = context
  const nodes = await podNodes(kubectl)
  const worker = agents.find(({ name }) => nodes.includes(name))
  if (!worker) throw new Error(`no worker has a pod of the drill: they run on ${nodes.join(', ')}`)
  return {
    what: 'worker dies',
    cut: dead(ssh, worker, power),
    whileAway: async (since) => {
      while (!(await runElsewhere(kubectl, worker))) {
        if (secondsSince(since) > 140) return { problem: 'its pods did not run on other nodes within 140 s' }
        await sleep(1000, undefined, { signal })
      }
      const rescheduled = secondsSince(since)
      note(`  its pods run on other nodes after ${rescheduled.toFixed(1)} s`)
      return { rescheduled, ...(await untilCalm(context, since, { least: 0, most: 160 })) }
    }
  }
}

/**
 * Kills the pod's processes, and deletes its object by force. Either alone is no sudden death: a pod that is deleted by
 * force still drains, and killed processes are started again in the same pod.
 */
export const killIngress = async ({ agents, servers, kubectl, ssh, signal }: EventContext): Promise<DrillEvent> => {
  const pods = await ingressPods(kubectl)
  const host = [...agents.toReversed(), ...servers].find(({ name }) => pods.some(({ spec }) => spec.nodeName === name))
  const pod = pods.find(({ spec }) => spec.nodeName === host?.name)
  if (!host || !pod) throw new Error('no ingress pod is ready')
  const { name, uid } = pod.metadata
  const isReplaced = async (): Promise<boolean> =>
    (await ingressPods(kubectl)).some(({ metadata, spec }) => spec.nodeName === host.name && metadata.uid !== uid)
  let killing: Promise<string> = Promise.resolve('')
  return {
    what: 'ingress pod killed',
    cut: {
      host,
      how: 'SIGKILL to its processes, and the pod deleted by force',
      make: async (until) => {
        killing = ssh.capture(host, killPod(uid), { signal: until })
        killing.catch(() => {}) // whileAway tells
        await kubectl({ signal: until })`-n nginx-ingress delete pod ${name} --grace-period=0 --force --wait=false`
      },
      undo: async () => {}, // the DaemonSet makes another one
      byHand: [],
      comesBack: true
    },
    whileAway: async (since) => {
      while (!(await isReplaced())) {
        if (secondsSince(since) > 120) return { problem: 'no other ingress pod was ready on its node within 120 s' }
        await sleep(500, undefined, { signal })
      }
      await killing
      return {}
    }
  }
}

/** Clients still reach the leader, but it has lost the majority and cannot serve them. */
export const isolateLeader = async (context: EventContext): Promise<DrillEvent> => {
  const { ssh, signal, traffic } = context
  const { leader, others } = await split(context)
  const names = others.map(({ name }) => name).join(' and ')
  return {
    what: 'etcd leader isolated',
    cut: scripted(ssh, leader, { how: `cut off from ${names}`, script: partition(others.map(({ address }) => address)) }),
    whileAway: async (since) => {
      const seen = await newLeader(context, others, since)
      await sleep(Math.max(0, 30 - secondsSince(since)) * 1000, undefined, { signal })
      // What the load balancer sends to the isolated server fails, until its health check takes the server out.
      const silent = traffic.silent(5)
      return { ...seen, ...(silent.length > 0 ? { problem: `no answer at all in the last 5 s: ${silent.join(', ')}` } : {}) }
    }
  }
}

const secondsSince = (time: number): number => (performance.now() - time) / 1000

const split = async ({ ssh, servers, signal }: EventContext): Promise<{ leader: Host; others: Host[] }> => {
  const { leader, faults } = await readQuorum(ssh, servers, signal)
  if (!leader) throw new Error(faults.join('\n'))
  return { leader, others: servers.filter((host) => host !== leader) }
}

const newLeader = async ({ ssh, signal, note }: EventContext, others: Host[], since: number): Promise<Seen> => {
  const leader = await nextLeader(ssh, others, { seconds: 60 - secondsSince(since), signal })
  if (!leader) return { problem: 'no other server led etcd within 60 s' }
  const seconds = secondsSince(since)
  note(`  ${leader.name} leads etcd after ${seconds.toFixed(1)} s`)
  return { leader: seconds }
}

// Waits at least so many seconds, and until nothing has failed for a while; what still fails after the most is a problem.
const untilCalm = async (
  { traffic, signal }: DrillContext,
  since: number,
  { least, most }: { least: number; most: number }
): Promise<Seen> => {
  for (;;) {
    const troubles = traffic.troubles(CALM)
    if (secondsSince(since) >= least && troubles.length === 0) return {}
    if (secondsSince(since) > most) return { problem: `after ${most} s there were still failures: ${troubles.join('; ')}` }
    await sleep(500, undefined, { signal })
  }
}
