import { setTimeout as sleep } from 'node:timers/promises'
import { messageOf } from '../base/errors.mts'
import type { Away } from './cluster.mts'
import { DEADLINE, type Cut } from './cuts.mts'
import { tally, type Tally } from './outage.mts'
import type { Host } from '../input/inventory.mts'
import type { Probes } from './traffic.mts'

/** What one event of the drill measured. Times are seconds. */
export type DrillRow = {
  /** What happened: "a worker dies". */
  what: string
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

/** What came to light while the target was away. `problem` says what should have happened and did not. */
export type Held = { leader?: number; rescheduled?: number; problem?: string }

/** One event: what is taken away, and for how long: until `hold` ends, which gets the time of the cut. */
export type Event = { what: string; cut: Cut; hold: (since: number) => Promise<Held> }

/** What an event sees of the world. */
export type World = {
  signal: AbortSignal
  note: (line: string) => void
  probes: Probes
  faults: (signal: AbortSignal, away?: Away) => Promise<string[]>
  lease: (host: Host) => Promise<string>
  /** Seconds within which everything must be well again. */
  patience: number
}

/** Seconds for which requests must have been answered well, before something is taken away and after. */
const CALM = 3

type Sound = { within: number; signal: AbortSignal; away?: Away | undefined }

/** Waits until the cluster and all requests are well. Returns since when the cluster is; throws with what is not. */
export const untilSound = async ({ probes, faults }: World, { within, signal, away }: Sound): Promise<number> => {
  const end = performance.now() + within * 1000
  let sound: number | undefined
  for (;;) {
    const wrong = await faults(signal, away)
    sound = wrong.length > 0 ? undefined : (sound ?? performance.now())
    wrong.push(...probes.troubles(CALM))
    if (sound !== undefined && wrong.length === 0) return sound
    if (performance.now() > end) throw new Error(wrong.join('\n'))
    await sleep(1000, undefined, { signal })
  }
}

/**
 * Takes one thing away from a cluster that is well, under live traffic, and gives it back whatever happens: also where
 * the run is interrupted or an exception comes between. Ends once everything is well again; throws where that is not so
 * in time.
 */
export const takeAway = async (world: World, { what, cut, hold }: Event): Promise<DrillRow> => {
  const { signal, note, probes, lease } = world
  const target = cut.host.name
  note(`${what}: ${target}, ${cut.how}`)
  const from = performance.now() - 1000 // the last answers before it
  let since = performance.now()
  let held: Held = {}
  let broken: unknown
  let last = ''
  try {
    await cut.make(signal)
    since = performance.now()
    held = await hold(since)
    last = await Promise.race([lease(cut.host).catch(() => ''), sleep(3000, '')])
  } catch (error) {
    broken = error
  }
  const back = performance.now()
  if (signal.aborted) note(`Interrupted: ${target} is given back first. ${interrupting(cut)}`)
  const well = await giveBack(world, cut, last).catch((error: unknown) => {
    const first = broken === undefined || signal.aborted ? '' : `${messageOf(broken)}\n`
    throw new Error(`${first}${messageOf(error)}`, { cause: error })
  })
  if (broken !== undefined) throw broken
  const to = performance.now()
  await probes.settle()
  const away = (back - since) / 1000
  if (held.problem !== undefined) throw new Error(`${what} (${target}, ${cut.how}): ${held.problem}`)
  if (away > DEADLINE - 5) throw new Error(`${target} was away for ${away.toFixed(0)} s and came back by itself: nothing was measured`)
  const failed = [...probes.samples('api'), ...probes.samples('http')].filter(({ sent, why }) => why !== '' && sent <= to)
  return {
    ...{ what, target, how: cut.how, away },
    ...(held.leader === undefined ? {} : { leader: held.leader }),
    ...(held.rescheduled === undefined ? {} : { rescheduled: held.rescheduled }),
    restored: (Math.max(well, ...failed.map(({ sent }) => sent)) - back) / 1000,
    api: tally(probes.samples('api'), { from, to }),
    http: tally(probes.samples('http'), { from, to })
  }
}

const interrupting = ({ itself }: Cut): string =>
  itself
    ? `ctrl-C once more ends at once; it then comes back by itself within ${DEADLINE} s.`
    : 'Do not press ctrl-C again: nobody else would bring it back.'

// Nothing of this heeds an interruption. Returns since when the cluster is well.
const giveBack = async (world: World, cut: Cut, lease: string): Promise<number> => {
  const { host } = cut
  const { signal } = new AbortController()
  const end = performance.now() + world.patience * 1000
  for (let undone = false, told = ''; !undone;) {
    try {
      await cut.undo(signal)
      undone = true
    } catch (error) {
      const words = messageOf(error)
      if (performance.now() > end) throw new Error(notGivenBack(cut, words, world), { cause: error })
      if (words !== told) world.note(`${host.name} could not be given back yet: ${words}`)
      told = words
      await sleep(1000)
    }
  }
  try {
    return await untilSound(world, { within: (end - performance.now()) / 1000, signal, away: { host, lease } })
  } catch (error) {
    throw new Error(notWell(cut, messageOf(error), world), { cause: error })
  }
}

const notGivenBack = ({ host, byHand, itself }: Cut, words: string, { patience }: World): string =>
  `${host.name} could not be given back in ${patience} s:
${indented(words)}
${itself ? `It comes back by itself ${DEADLINE} s after the cut, unless it cannot. ` : ''}By hand:
${indented(byHand.join('\n'))}`

const notWell = ({ host }: Cut, words: string, { patience }: World): string => {
  const login = `ssh ${host.user}@${host.address}${host.user === 'root' ? '' : ' sudo'}`
  const unit = host.role === 'server' ? 'k3s' : 'k3s-agent'
  return `What was done to ${host.name} is taken back, and ${patience} s later not all is well:
${indented(words)}
Look at it, then mend it with 09_k3s_apply_all:
${indented(`${login} systemctl status ${unit}\n${login} journalctl -u ${unit} -e`)}`
}

const indented = (text: string): string => text.replaceAll(/^/gm, '  ')
