import { setTimeout as sleep } from 'node:timers/promises'
import { messageOf } from '../base/errors.mts'
import type { Host } from '../input/inventory.mts'
import { unitOf } from '../node/k3s.mts'
import { login } from '../reach/ssh.mts'
import type { Returning } from './cluster.mts'
import { DEADLINE, type Cut } from './cuts.mts'
import { tally, type Tally } from './outage.mts'
import type { Traffic } from './traffic.mts'

/** What one event of the drill measured. Times are seconds. */
export type DrillRow = {
  /** What happened: "worker dies". */
  what: string
  /** The host that was taken away. */
  target: string
  how: string
  /** From the cut until it was taken back. */
  away: number
  /** Until another server led etcd, where the leader was taken away. */
  leader?: number
  /** Until the pods of the target ran on other nodes. */
  rescheduled?: number
  /** From taking the cut back until every node, etcd, the ingress and all requests were well again. */
  restored: number
  /** Requests to the API, and to the canary through both HTTP load balancers. */
  api: Tally
  http: Tally
}

/** What was seen while the target was away, in seconds since the cut. `problem` says what should have happened and did not. */
export type Seen = { leader?: number; rescheduled?: number; problem?: string }

/** One event: what is taken away, and for how long: until `whileAway` ends, which gets the time of the cut. */
export type DrillEvent = { what: string; cut: Cut; whileAway: (since: number) => Promise<Seen> }

/** What an event needs of the drill. */
export type DrillContext = {
  signal: AbortSignal
  note: (line: string) => void
  traffic: Traffic
  /** In words what is wrong with the cluster. */
  faults: (signal: AbortSignal, returning?: Returning) => Promise<string[]>
  /** When a node last said that it lives. */
  lease: (host: Host) => Promise<string>
  /** Seconds for which no request may have failed, before something is taken away and after. */
  calm: number
  /** Seconds from one look at the cluster to the next. */
  every: number
  /** Seconds within which everything must be well again. */
  patience: number
}

type Waiting = { within: number; signal: AbortSignal; returning?: Returning | undefined }

/**
 * Waits until the cluster and all requests are well. Returns since when the cluster is (as performance.now()); throws with
 * what is not.
 */
export const untilWell = async (context: DrillContext, { within, signal, returning }: Waiting): Promise<number> => {
  const { traffic, faults, calm, every } = context
  const end = performance.now() + within * 1000
  let well: number | undefined
  for (;;) {
    const wrong = await faults(signal, returning)
    well = wrong.length > 0 ? undefined : (well ?? performance.now())
    wrong.push(...traffic.troubles(calm))
    if (well !== undefined && wrong.length === 0) return well
    if (performance.now() > end) throw new Error(wrong.join('\n'))
    await sleep(every * 1000, undefined, { signal })
  }
}

/**
 * Takes one thing away from a cluster that is well, under live traffic, and gives it back whatever happens: also where
 * the run is interrupted or an exception comes between. Ends once everything is well again; throws where that is not so
 * in time.
 */
export const takeAway = async (context: DrillContext, { what, cut, whileAway }: DrillEvent): Promise<DrillRow> => {
  const { signal, note, traffic, lease } = context
  const target = cut.host.name
  note(`${what}: ${target}, ${cut.how}`)
  const from = performance.now() - 1000 // the last answers before it
  let since = performance.now()
  let seen: Seen = {}
  let broken: unknown
  let last = ''
  try {
    await cut.make(signal)
    since = performance.now()
    seen = await whileAway(since)
    last = await Promise.race([lease(cut.host).catch(() => ''), sleep(3000, '', { ref: false })])
  } catch (error) {
    broken = error
  }
  const back = performance.now()
  if (signal.aborted) note(`Interrupted: ${target} is given back first. ${ifInterruptedAgain(cut)}`)
  const well = await giveBack(context, cut, last).catch((error: unknown) => {
    const first = broken === undefined || signal.aborted ? '' : `${messageOf(broken)}\n`
    throw new Error(`${first}${messageOf(error)}`, { cause: error })
  })
  if (broken !== undefined) throw broken
  const to = performance.now()
  await traffic.settle()
  const away = (back - since) / 1000
  if (seen.problem !== undefined) throw new Error(`${what} (${target}, ${cut.how}): ${seen.problem}`)
  if (away > DEADLINE - 5) throw new Error(`${target} was away for ${away.toFixed(0)} s and came back by itself: nothing was measured`)
  const failed = [...traffic.samples('api'), ...traffic.samples('http')].filter(({ sent, why }) => why !== '' && sent <= to)
  return {
    what,
    target,
    how: cut.how,
    away,
    ...(seen.leader === undefined ? {} : { leader: seen.leader }),
    ...(seen.rescheduled === undefined ? {} : { rescheduled: seen.rescheduled }),
    restored: (Math.max(well, ...failed.map(({ sent }) => sent)) - back) / 1000,
    api: tally(traffic.samples('api'), { from, to }),
    http: tally(traffic.samples('http'), { from, to })
  }
}

const ifInterruptedAgain = ({ comesBack }: Cut): string =>
  comesBack
    ? `ctrl-C once more ends at once; it then comes back by itself within ${DEADLINE} s.`
    : 'Do not press ctrl-C again: nobody else would bring it back.'

// An interruption ends none of this. Returns since when the cluster is well.
const giveBack = async (context: DrillContext, cut: Cut, lease: string): Promise<number> => {
  const { host } = cut
  const { note, every, patience } = context
  const { signal } = new AbortController()
  const end = performance.now() + patience * 1000
  for (let undone = false, told = ''; !undone;) {
    try {
      await cut.undo(signal)
      undone = true
    } catch (error) {
      const words = messageOf(error)
      if (performance.now() > end) throw new Error(notGivenBack(cut, words, patience), { cause: error })
      if (words !== told) note(`${host.name} could not be given back yet: ${words}`)
      told = words
      await sleep(every * 1000)
    }
  }
  try {
    return await untilWell(context, { within: (end - performance.now()) / 1000, signal, returning: { host, lease } })
  } catch (error) {
    throw new Error(notWell(cut, messageOf(error), patience), { cause: error })
  }
}

const notGivenBack = ({ host, byHand, comesBack }: Cut, words: string, patience: number): string =>
  `${host.name} could not be given back in ${patience} s:
${indented(words)}
${comesBack ? `It comes back by itself ${DEADLINE} s after the cut, unless it cannot. ` : ''}By hand:
${indented(byHand.join('\n'))}`

const notWell = ({ host }: Cut, words: string, patience: number): string => {
  const ssh = `ssh ${login(host)}${host.user === 'root' ? '' : ' sudo'}`
  return `What was done to ${host.name} is taken back, and ${patience} s later not all is well:
${indented(words)}
Look at it, then mend it with 09_k3s_apply_all:
${indented(`${ssh} systemctl status ${unitOf(host)}\n${ssh} journalctl -u ${unitOf(host)} -e`)}`
}

const indented = (text: string): string => text.replaceAll(/^/gm, '  ')
