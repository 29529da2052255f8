import { setTimeout as sleep } from 'node:timers/promises'
import { isAbort, messageOf } from '../base/errors.mts'
import { takeAway, untilSound, type DrillRow, type World } from './away.mts'
import { clusterFaults, leaseOf, withPods } from './cluster.mts'
import { isolateLeader, killIngress, killLeader, loseLeader, loseWorker, type Place } from './events.mts'
import { clean, type Power } from './cuts.mts'
import type { Run } from '../run/run.mts'
import type { Kubectl } from '../reach/kubectl.mts'
import { apiTarget, httpTargets, startProbes } from './traffic.mts'

export type { DrillRow } from './away.mts'
export type { Power } from './cuts.mts'
export { drillMarkdown, renderDrill } from './table.mts'

/** The drill could not go on. It holds what was measured until then. */
export class DrillFailed extends Error {
  override name = 'DrillFailed'
  readonly rows: DrillRow[]
  constructor(message: string, rows: DrillRow[], cause?: unknown) {
    super(message, { cause })
    this.rows = rows
  }
}

/** Seconds until all must be well again: what a node's own deadline, a boot and its next sign of life take, and more. */
const PATIENCE = 300

type Means = {
  kubectl: Kubectl
  /** A name whose Ingress answers GET /name through both HTTP load balancers. */
  canaryHost: string
  /** Switches machines off and on. Without it they are cut off instead. */
  power?: Power | undefined
}

/**
 * The failover drill. Takes away the etcd leader's k3s, its machine, a worker, an ingress pod and the leader's
 * connections to the other servers, one after the other, under requests to the API and through both HTTP load
 * balancers, and measures for how long they were not answered. Everything is given back, also where the drill is
 * interrupted, and each event waits until all is well again. Throws where the cluster is not well before it, or does
 * not get over an event as it should.
 */
export const drill = async (run: Run, { kubectl, canaryHost, power }: Means): Promise<DrillRow[]> => {
  const { settings, hosts, servers, agents, signal, note } = run
  for (const name of await clean(hosts, signal)) note(`${name} still had a cut of an earlier drill; it is taken back`)
  if (servers.length < 3 || agents.length < 2) {
    const has = `this one has ${servers.length} and ${agents.length}`
    throw new DrillFailed(`Nothing is taken away: a cluster gets over it with 3 servers and 2 workers at least, and ${has}.`, [])
  }
  const rows: DrillRow[] = []
  const probes = startProbes([await apiTarget(settings, kubectl), ...httpTargets(settings, canaryHost)])
  const world: World = {
    signal,
    note,
    probes,
    faults: (until, away) => clusterFaults(run, { kubectl, away, signal: until }),
    lease: (host) => leaseOf(kubectl, host),
    patience: PATIENCE
  }
  const place: Place = { world, servers, agents, kubectl, power }
  let broken: unknown
  try {
    await withPods(kubectl, signal, () => inTurn(place, rows).catch((error: unknown) => {
      broken = error
      throw error
    }))
    return rows
  } catch (error) {
    const first = broken ?? error // where the API is away, its pods cannot be removed either
    const words = messageOf(first)
    if (!signal.aborted) throw new DrillFailed(words, rows, first)
    if (!isAbort(first)) note(words) // an interruption is told in few words, and this must not be lost
    throw error
  } finally {
    probes.stop()
  }
}

const inTurn = async (place: Place, rows: DrillRow[]): Promise<void> => {
  const { world } = place
  await sleep(3000, undefined, { signal: world.signal })
  for (const event of [killLeader, loseLeader, loseWorker, killIngress, isolateLeader]) {
    await mayGoOn(world, rows.length === 0 ? 0 : 120)
    const row = await takeAway(world, await event(place))
    const [api, http, restored] = [row.api.outage, row.http.outage, row.restored].map((seconds) => `${seconds.toFixed(1)} s`)
    world.note(`  API away for ${api}, HTTP for ${http}; all well ${restored} after it was given back`)
    rows.push(row)
  }
}

const mayGoOn = async (world: World, within: number): Promise<void> => {
  try {
    await untilSound(world, { within, signal: world.signal })
  } catch (error) {
    if (world.signal.aborted || !(error instanceof Error)) throw error
    throw new Error(`Nothing ${within === 0 ? '' : 'more '}is taken away, for not all is well:\n${error.message}`)
  }
}
