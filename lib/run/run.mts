import { setTimeout as sleep } from 'node:timers/promises'
import pMap from 'p-map'
import { isAbort, messageOf } from '../base/errors.mts'
import type { Host } from '../input/inventory.mts'
import { ApiAway } from '../reach/kubectl.mts'
import type { Settings } from '../input/settings.mts'
import { capture, run as ssh, lastWords, Unreachable } from '../reach/ssh.mts'
import { batchFindings, batchScript, batchTimeout, findingOf, holds, type Finding, type Step } from './step.mts'

/** What became of a step: pending and unknown only in a plan, changed only in an apply. */
export type Outcome = {
  step: string
  result: 'ok' | 'changed' | 'pending' | 'unknown' | 'failed'
  /** What differed, or why it failed. */
  words?: string
  hint?: string
  /** What the check read, in words. */
  evidence?: string
}

/** Where outcomes go as they come. `target` is a host's name, or "cluster". */
export type Listener = {
  begins: (target: string, doing: string) => void
  outcome: (target: string, outcome: Outcome) => void
  ends: (target: string) => void
  note: (line: string) => void
}

/**
 * One pass of a script over the hosts. The scripts' stories are told with it. A plan and a validation change nothing:
 * a plan says what would be changed, to a validation that has failed.
 */
export type Run = {
  mode: 'plan' | 'apply' | 'validate'
  /** Every K3s host of the inventory, also those that --hosts leaves out. */
  hosts: Host[]
  /** The hosts that --hosts chose, all by default. Steps are taken on these only. */
  chosen: Host[]
  servers: Host[]
  agents: Host[]
  settings: Settings
  flags: Record<string, string | undefined>
  /** Aborted when the operator interrupts the run. */
  signal: AbortSignal
  /** Tells the operator what takes the time. */
  note: (line: string) => void
  /** Takes steps on hosts, all at once, or one host after the other where a failure must stop the rest. */
  on: (hosts: Host[], steps: (host: Host) => Step[] | Promise<Step[]>, order?: 'serial') => Promise<void>
  /** Takes steps from the bastion that concern the cluster, not one host. */
  once: (steps: Step[]) => Promise<void>
  /** Runs a read-only script on hosts and returns what each printed; a host that fails is reported and left out. */
  read: (hosts: Host[], script: string) => Promise<Map<string, string>>
  /** True until something failed on the host, or in a step of the cluster. */
  stands: (target: Host | 'cluster') => boolean
}

type RunContext = Pick<Run, 'mode' | 'hosts' | 'chosen' | 'settings' | 'flags' | 'signal'> & {
  /** The script that is run, which a validation names as the remedy. */
  script: string
  listener: Listener
  /** True where an earlier script of the same plan has changes to make. */
  pending: boolean
}

/** Starts a pass. See Run. */
export const createRun = ({ mode, script, hosts, settings, flags, chosen, signal, listener, pending }: RunContext): Run => {
  const failed = new Set<string>()
  const changing = new Set<string>()
  let anyPending = pending
  const atOnce = settings.ssh.parallel

  const take = async (target: string, host: Host | undefined, steps: () => Promise<Step[]>, dependent: boolean) => {
    const outcome = (one: Outcome): void => {
      if (one.result === 'failed') failed.add(target)
      if (one.result === 'pending') {
        changing.add(target)
        anyPending = true
      }
      listener.outcome(target, one)
    }
    try {
      const begins = (doing: string): void => listener.begins(target, doing)
      if (mode === 'plan') await plan(host, await steps(), { dependent, isChanging: () => changing.has(target), begins, outcome, signal })
      else if (mode === 'validate') await validate(host, await steps(), { script, begins, outcome, signal })
      else await apply(host, await steps(), { begins, outcome, signal })
    } catch (error) {
      if (isAbort(error)) throw error
      outcome({ step: error instanceof Unreachable ? 'answers over ssh' : 'can be worked on', ...failure(error) })
    }
    listener.ends(target)
  }

  const left = (some: Host[]): Host[] => some.filter((host) => chosen.includes(host) && !failed.has(host.name))

  return {
    mode,
    hosts,
    chosen,
    servers: hosts.filter(({ role }) => role === 'server'),
    agents: hosts.filter(({ role }) => role === 'agent'),
    settings,
    flags,
    signal,
    note: listener.note,
    stands: (target) => !failed.has(target === 'cluster' ? target : target.name),
    on: async (some, steps, order) => {
      const serial = order === 'serial' && mode === 'apply'
      const dependent = anyPending
      const hosts = left(some)
      await pMap(
        hosts,
        async (host) => {
          const broken = hosts.find(({ name }) => failed.has(name))
          if (serial && broken) return listener.note(`${host.name} is not tried, because ${broken.name} failed`)
          await take(host.name, host, async () => steps(host), dependent)
        },
        { concurrency: serial ? 1 : atOnce }
      )
    },
    once: async (steps) => {
      if (failed.has('cluster')) return
      await take('cluster', undefined, async () => steps, anyPending)
    },
    read: async (some, script) => {
      const answers = new Map<string, string>()
      await pMap(
        some.filter(({ name }) => !failed.has(name)),
        async (host) => {
          await take(host.name, host, async () => {
            answers.set(host.name, (await capture(host, script)).trim())
            return []
          }, false)
        },
        { concurrency: atOnce }
      )
      return answers
    }
  }
}

type Watch = { begins: (doing: string) => void; outcome: (outcome: Outcome) => void; signal: AbortSignal }

// A plan looks at everything once. An assertion that does not hold yet is unknown where something that it may depend on
// is still to be changed; after a real failure a host's changes would not be made, so only further failures are told.
const plan = async (
  host: Host | undefined,
  steps: Step[],
  { dependent, isChanging, begins, outcome, signal }: Watch & { dependent: boolean; isChanging: () => boolean }
): Promise<void> => {
  begins('is looked at')
  let pending = dependent
  let stopped = false
  const reading = steps.filter(({ trial }) => !trial)
  const findings = await look(host, reading, { waiting: false, signal })
  for (const [index, step] of reading.entries()) {
    const finding = findings[index] ?? endedEarly
    if (holds(finding)) {
      const follows = step.follows === true && isChanging()
      outcome(follows ? { step: step.name, result: 'unknown', words: 'follows the changes above' } : okOutcome(step, finding))
    } else if (!finding.failed && step.change !== undefined) {
      if (!stopped) outcome({ step: step.name, result: 'pending', words: finding.words })
      pending = true
    } else if (pending && !step.always) outcome({ step: step.name, result: 'unknown', words: 'known once applied' })
    else {
      outcome(failedOutcome(step, finding))
      stopped = true
    }
  }
}

// A validation looks at everything once, and what could be changed has failed all the same.
const validate = async (
  host: Host | undefined,
  steps: Step[],
  { script, begins, outcome, signal }: Watch & { script: string }
): Promise<void> => {
  begins('is looked at')
  const findings = await look(host, steps, { waiting: false, signal })
  for (const [index, step] of steps.entries()) {
    const finding = findings[index] ?? endedEarly
    const mendable = step.hint === undefined && step.change !== undefined && !finding.blind
    const remedy = mendable ? { hint: `run ${script}, which mends it` } : {}
    outcome(holds(finding) ? okOutcome(step, finding) : { ...failedOutcome(step, finding), ...remedy })
  }
}

// An apply goes from one fact to the next: what holds is passed over, what differs is changed and looked at again.
const apply = async (host: Host | undefined, steps: Step[], { begins, outcome, signal }: Watch): Promise<void> => {
  let at = 0
  let differed: string | undefined
  while (at < steps.length) {
    const rest = steps.slice(at)
    const changing = differed !== undefined
    begins(rest[0]?.name ?? '')
    let findings: Finding[]
    try {
      findings = await look(host, rest, { waiting: true, change: changing ? rest[0]?.change : undefined, signal })
    } catch (error) {
      if (isAbort(error) || error instanceof Unreachable || !changing) throw error
      return outcome(failedOutcome(rest[0]!, { words: messageOf(error) }))
    }
    for (const [index, finding] of findings.entries()) {
      const step = steps[at]!
      const changed = changing && index === 0
      if (holds(finding)) {
        outcome(changed ? { step: step.name, result: 'changed', words: differed! } : okOutcome(step, finding))
        differed = undefined
        at++
      } else if (changed || finding.failed || step.change === undefined) {
        return outcome(failedOutcome(step, finding))
      } else differed = finding.words
    }
    if (findings.length === 0) throw new Error('the node ended the script before its first check')
  }
}

// The findings of the steps in order; with `waiting` up to the first that does not hold. Neighbouring checks in shell
// travel together: a plan of a host is one ssh command.
const look = async (
  host: Host | undefined,
  steps: Step[],
  { waiting, change, signal }: { waiting: boolean; change?: Step['change']; signal: AbortSignal }
): Promise<Finding[]> => {
  const findings: Finding[] = []
  if (typeof change === 'function') await change()
  if (typeof change === 'string' && typeof steps[0]?.check === 'function') {
    await capture(onHost(host), change, { timeout: steps[0].timeout ?? 60 })
  }
  while (findings.length < steps.length) {
    const first = steps[findings.length]!
    if (typeof first.check === 'function') {
      const patience = waiting && (first.change === undefined || (change !== undefined && findings.length === 0))
      findings.push(await ask(first.check, patience ? (first.within ?? 0) : 0, signal))
    } else {
      const from = steps.slice(findings.length)
      const end = from.findIndex(({ check }) => typeof check === 'function')
      const batch = {
        steps: end === -1 ? from : from.slice(0, end),
        waiting,
        changed: change !== undefined && findings.length === 0,
        ...(findings.length === 0 && typeof change === 'string' ? { change } : {})
      }
      const result = await ssh(onHost(host), batchScript(batch), { timeout: batchTimeout(batch) })
      if (result.exitCode !== 0) throw new Error(lastWords(result))
      findings.push(...batchFindings(result))
    }
    if (waiting && !holds(findings.at(-1))) break
  }
  return findings
}

const ask = async (check: () => Promise<string>, seconds: number, signal: AbortSignal): Promise<Finding> => {
  const end = Date.now() + seconds * 1000
  for (;;) {
    let finding: Finding
    try {
      finding = findingOf(await check())
    } catch (error) {
      if (isAbort(error)) throw error
      finding = { words: messageOf(error), failed: true, blind: error instanceof ApiAway }
    }
    if (holds(finding) || Date.now() >= end) return finding
    await sleep(1000, undefined, { signal })
  }
}

const onHost = (host: Host | undefined): Host => {
  if (host) return host
  throw new Error('a step of the cluster has shell for a node: give it a function')
}

const endedEarly: Finding = { words: 'the check ended early', failed: true }

type Found = Pick<Finding, 'words' | 'blind' | 'evidence'>

const evidenceOf = ({ evidence }: Found): { evidence?: string } => (evidence === undefined ? {} : { evidence })

const okOutcome = (step: Step, finding: Found): Outcome => ({ step: step.name, result: 'ok', ...evidenceOf(finding) })

const failedOutcome = (step: Step, finding: Found): Outcome => ({
  step: step.name,
  result: 'failed',
  words: finding.words,
  ...(step.hint === undefined || finding.blind ? {} : { hint: step.hint }),
  ...evidenceOf(finding)
})

const failure = (error: unknown): { result: 'failed'; words: string } => ({ result: 'failed', words: messageOf(error) })
