import { setTimeout as sleep } from 'node:timers/promises'
import { isAbort, messageOf } from '../base/errors.mts'
import type { Settings } from '../input/settings.mts'
import type { Run } from '../run/run.mts'
import { takeAway, untilWell, type DrillRow } from './away.mts'
import { clusterFaults, leaseOf, withPods } from './cluster.mts'
import { clean } from './cuts.mts'
import { isolateLeader, killIngress, killLeader, loseLeader, loseWorker, type EventContext } from './events.mts'
import type { Power } from './power.mts'
import { apiEndpoint, httpEndpoints, startTraffic } from './traffic.mts'
import { loseVault } from './vault.mts'

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

type Options = {
  /** A name whose Ingress answers GET /name through both HTTP load balancers. */
  canaryHost: string
  /** Switches machines off and on. Without it they are cut off instead. */
  power?: Power | undefined
  /** Seconds for which no request may have failed, before something is taken away and after (default 3). */
  calm?: number
}

/**
 * The failover drill. Takes away the etcd leader's k3s, its machine, a worker, an ingress pod, the leader's connections to
 * the other servers and, where there is a Vault, a worker's way to it, one after the other, under requests to the API and through both HTTP load
 * balancers, and measures for how long they were not answered. Everything is given back, also where the drill is
 * interrupted, and each event waits until all is well again. Throws where the cluster is not well before it, or does
 * not get over an event as it should.
 */
export const drill = async (run: Run, { canaryHost, power, calm = 3 }: Options): Promise<DrillRow[]> => {
  const { settings, hosts, servers, agents, signal, ssh, kubectl, note } = run
  for (const name of await clean(ssh, hosts, signal)) note(`${name} still had a cut of an earlier drill; it is taken back`)
  if (servers.length < 3 || agents.length < 2) {
    const has = `this one has ${servers.length} and ${agents.length}`
    throw new DrillFailed(`Nothing is taken away: a cluster gets over it with 3 servers and 2 workers at least, and ${has}.`, [])
  }
  const rows: DrillRow[] = []
  const traffic = startTraffic([await apiEndpoint(settings, kubectl), ...httpEndpoints(settings, canaryHost)])
  const context: EventContext = {
    signal, note, traffic, servers, agents, ssh, kubectl, power, calm,
    faults: (until, returning) => clusterFaults(run, { returning, signal: until }),
    lease: (host) => leaseOf(kubectl, host),
    every: 1,
    patience: PATIENCE
  }
  let broken: unknown
  try {
    const { busybox } = await run.release()
    await withPods({ kubectl, signal, busybox }, () => inTurn(context, settings, rows).catch((error: unknown) => {
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
    traffic.stop()
  }
}

const inTurn = async (context: EventContext, settings: Settings, rows: DrillRow[]): Promise<void> => {
  const { signal, note, calm } = context
  const ofVault = settings.backends.vault.address === '' ? [] : [(its: EventContext) => loseVault(its, settings)]
  const events = [killLeader, loseLeader, loseWorker, killIngress, isolateLeader, ...ofVault]
  await sleep(calm * 1000, undefined, { signal })
  for (const event of events) {
    await mayGoOn(context, rows.length === 0 ? 0 : 120)
    const row = await takeAway(context, await event(context))
    const [api, http, restored] = [row.api.outage, row.http.outage, row.restored].map((seconds) => `${seconds.toFixed(1)} s`)
    note(`  API away for ${api}, HTTP for ${http}; all well ${restored} after it was given back`)
    rows.push(row)
  }
}

const mayGoOn = async (context: EventContext, within: number): Promise<void> => {
  const { signal } = context
  try {
    await untilWell(context, { within, signal })
  } catch (error) {
    if (signal.aborted || !(error instanceof Error)) throw error
    throw new Error(`Nothing ${within === 0 ? '' : 'more '}is taken away, for not all is well:\n${error.message}`)
  }
}
