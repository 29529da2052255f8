import { setTimeout as sleep } from 'node:timers/promises'
import type { Event, Held, World } from './away.mts'
import { ingressPods, podNodes, runElsewhere } from './cluster.mts'
import { dead, etcd, killed, killPod, leaderOf, partition, scripted, type Power } from './cuts.mts'
import type { Host } from '../input/inventory.mts'
import type { Kubectl } from '../reach/kubectl.mts'
import { capture } from '../reach/ssh.mts'

/** What the events work on. */
export type Place = { world: World; servers: Host[]; agents: Host[]; kubectl: Kubectl; power: Power | undefined }

/** Seconds without a failed request after which the cluster has got over a loss. */
const CALM = 10

/** K3s dies as by the kernel's out-of-memory killer. The machine lives, and refuses connections at once. */
export const killLeader = async ({ world, servers }: Place): Promise<Event> => {
  const { leader, others } = await split(servers, world.signal)
  return {
    what: 'etcd leader killed',
    cut: scripted(leader, { how: 'SIGKILL to its k3s, which is held down', script: killed }),
    hold: async (since) => ({ ...(await newLeader(world, others, since)), ...(await calm(world, since, { least: 20, most: 90 })) })
  }
}

/** Nobody is told: connections to the machine hang until somebody's patience ends. */
export const loseLeader = async ({ world, servers, power }: Place): Promise<Event> => {
  const { leader, others } = await split(servers, world.signal)
  return {
    what: "etcd leader's machine dies",
    cut: dead(leader, power),
    hold: async (since) => ({ ...(await newLeader(world, others, since)), ...(await calm(world, since, { least: 20, most: 150 })) })
  }
}

/** Long enough for Kubernetes to see that the worker is dead (50 s), and to run its pods elsewhere. */
export const loseWorker = async ({ world, agents, kubectl, power }: Place): Promise<Event> => {
  const nodes = await podNodes(kubectl)
  const worker = agents.find(({ name }) => nodes.includes(name))
  if (!worker) throw new Error(`no worker has a pod of the drill: they run on ${nodes.join(', ')}`)
  return {
    what: 'worker dies',
    cut: dead(worker, power),
    hold: async (since) => {
      while (!(await runElsewhere(kubectl, worker))) {
        if (secondsSince(since) > 140) return { problem: 'its pods did not run on other nodes within 140 s' }
        await sleep(1000, undefined, { signal: world.signal })
      }
      const rescheduled = secondsSince(since)
      world.note(`  its pods run on other nodes after ${rescheduled.toFixed(1)} s`)
      return { rescheduled, ...(await calm(world, since, { least: 0, most: 160 })) }
    }
  }
}

/**
 * The pod's processes are killed, and its object is deleted by force. Either alone is no sudden death: the kubelet lets
 * a pod that was deleted by force drain as ever, and starts killed processes again in the same pod.
 */
export const killIngress = async ({ world, agents, servers, kubectl }: Place): Promise<Event> => {
  const pods = await ingressPods(kubectl)
  const host = [...agents.toReversed(), ...servers].find(({ name }) => pods.some(({ node }) => node === name))
  const pod = pods.find(({ node }) => node === host?.name)
  if (!host || !pod) throw new Error('no ingress pod is ready')
  let killing: Promise<string> = Promise.resolve('')
  return {
    what: 'ingress pod killed',
    cut: {
      host,
      how: 'SIGKILL to its processes, and the pod deleted by force',
      make: async (signal) => {
        killing = capture(host, killPod(pod.uid), { signal })
        killing.catch(() => {}) // hold tells
        await kubectl(['-n', 'nginx-ingress', 'delete', 'pod', pod.name, '--grace-period=0', '--force', '--wait=false'])
      },
      undo: async () => {}, // the DaemonSet makes another one
      byHand: [],
      itself: true
    },
    hold: async (since) => {
      while (!(await ingressPods(kubectl)).some(({ node, uid }) => node === host.name && uid !== pod.uid)) {
        if (secondsSince(since) > 120) return { problem: 'no other ingress pod was ready on its node within 120 s' }
        await sleep(500, undefined, { signal: world.signal })
      }
      await killing
      return {}
    }
  }
}

/** Its clients still reach the leader, and it cannot serve them: it has lost the majority. */
export const isolateLeader = async ({ world, servers }: Place): Promise<Event> => {
  const { leader, others } = await split(servers, world.signal)
  const names = others.map(({ name }) => name).join(' and ')
  return {
    what: 'etcd leader isolated',
    cut: scripted(leader, { how: `cut off from ${names}`, script: partition(others.map(({ address }) => address)) }),
    hold: async (since) => {
      const held = await newLeader(world, others, since)
      await sleep(Math.max(0, 30 - secondsSince(since)) * 1000, undefined, { signal: world.signal })
      // What the load balancer sends to the isolated server fails for as long as it believes in it.
      const silent = world.probes.silent(5)
      return { ...held, ...(silent.length > 0 ? { problem: `no answer at all in the last 5 s: ${silent.join(', ')}` } : {}) }
    }
  }
}

const secondsSince = (time: number): number => (performance.now() - time) / 1000

const split = async (servers: Host[], signal: AbortSignal): Promise<{ leader: Host; others: Host[] }> => {
  const { leader, faults } = await etcd(servers, signal)
  if (!leader) throw new Error(faults.join('\n'))
  return { leader, others: servers.filter((host) => host !== leader) }
}

const newLeader = async ({ signal, note }: World, others: Host[], since: number): Promise<Held> => {
  const leader = await leaderOf(others, 60, signal)
  if (!leader) return { problem: 'no other server led etcd within 60 s' }
  const seconds = secondsSince(since)
  note(`  ${leader.name} leads etcd after ${seconds.toFixed(1)} s`)
  return { leader: seconds }
}

// Waits until nothing has failed for a while, and at least so long; what is then still failing is a problem.
const calm = async ({ probes, signal }: World, since: number, { least, most }: { least: number; most: number }): Promise<Held> => {
  for (;;) {
    const troubles = probes.troubles(CALM)
    if (secondsSince(since) >= least && troubles.length === 0) return {}
    if (secondsSince(since) > most) return { problem: `after ${most} s there were still failures: ${troubles.join('; ')}` }
    await sleep(500, undefined, { signal })
  }
}
