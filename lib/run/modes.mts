import { setTimeout as sleep } from 'node:timers/promises'
import { awayOf, isAbort, messageOf } from '../base/errors.mts'
import { printable } from '../base/words.mts'
import type { Host } from '../input/inventory.mts'
import { lastWords, Unreachable, type Ssh } from '../reach/ssh.mts'
import {
  batchFindings, batchScript, batchTimeout, findingOf, hasBegun, holds, isAskedOnNode, Refusal, type Batch, type Finding, type Step
} from './step.mts'

/** The result of a step. pending and unknown only in a plan, changed only in an apply. */
export type Outcome = {
  step: string
  result: 'ok' | 'changed' | 'pending' | 'unknown' | 'failed' | 'skipped'
  /** What differed, why it failed, or why it was skipped. */
  words?: string
  /** An apply of anything must not begin while this fails. */
  refuses?: true
  hint?: string
  /** What the check saw, in words. */
  evidence?: string
}

/** What steps are taken on, and where their outcomes go. `host` is missing for steps of the cluster. */
export type Taking = {
  host?: Host | undefined
  ssh: Ssh
  signal: AbortSignal
  begins: (doing: string) => void
  outcome: (outcome: Outcome) => void
  /** The names of all hosts of the inventory. */
  names: string[]
  /** Hosts that a validation has found not to be well. */
  sick: Set<string>
  /** Why steps of this run failed blindly. Each reason is said once, and not for each step that has it. */
  away: Set<string>
}

/**
 * A plan checks everything once. An assertion that does not hold is unknown if a change that is still to come may make it
 * hold. After a real failure an apply would stop on this host, so only further failures are reported.
 */
export const plan = async (
  steps: Step[],
  taking: Taking,
  { dependent, isChanging }: { dependent: boolean; isChanging: () => boolean }
): Promise<void> => {
  const { begins, outcome } = taking
  begins('is looked at')
  let pending = dependent
  let stopped = false
  const reading = steps.filter(({ trial }) => !trial)
  const findings = await look(reading, taking, { waiting: false })
  for (const [index, step] of reading.entries()) {
    const finding = findings[index]!
    if (holds(finding)) {
      const follows = step.follows === true && isChanging()
      outcome(follows ? { step: step.name, result: 'unknown', words: 'follows the changes above' } : okOutcome(step, finding))
    } else if (!finding.failed && step.change !== undefined) {
      outcome(stopped
        ? { step: step.name, result: 'skipped', words: afterFailure }
        : { step: step.name, result: 'pending', words: finding.words })
      pending = true
    } else if (pending && !step.always && !finding.refuses && !isKnown(finding, taking.away)) outcome({ step: step.name, result: 'unknown', words: 'known once applied' })
    else {
      outcome(unlessBlind(step, finding, taking))
      stopped = true
    }
  }
}

/**
 * A validation checks everything once. A step that an apply would change has failed. The hint names the script to run. A
 * node that is not well is one finding: what else fails on it or names only it is skipped, and no trial is made meanwhile.
 */
export const validate = async (steps: Step[], taking: Taking, script: string): Promise<void> => {
  const { begins, outcome, sick, host } = taking
  begins('is looked at')
  const made = steps.filter(({ trial }) => !trial || sick.size === 0)
  for (const { name } of steps.filter((step) => !made.includes(step))) outcome({ step: name, result: 'skipped', words: notWell([...sick]) })
  const findings = await look(made, taking, { waiting: false })
  for (const [index, step] of made.entries()) {
    const finding = findings[index]!
    const blamed = holds(finding) ? [] : host && sick.has(host.name) ? [host.name] : namedIn(finding.words, taking)
    if (blamed.length > 0 && blamed.every((name) => sick.has(name))) {
      outcome({ step: step.name, result: 'skipped', words: notWell(blamed) })
      continue
    }
    if (step.vital && !holds(finding) && !finding.blind && host) sick.add(host.name)
    const mendable = step.hint === undefined && step.change !== undefined && !finding.blind
    const remedy = mendable ? { hint: `run ${script}, which mends it` } : {}
    outcome(holds(finding) ? okOutcome(step, finding) : { ...unlessBlind(step, finding, taking), ...remedy })
  }
}

/**
 * An apply goes from step to step. It leaves alone what holds. What differs is changed and checked again. It stops at the
 * first failure. Returns how many steps it did not reach.
 */
export const apply = async (steps: Step[], taking: Taking): Promise<number> => {
  const { begins, outcome } = taking
  const fail = (step: Step, finding: Found): number => {
    outcome(failedOutcome(step, finding))
    return steps.length - steps.indexOf(step) - 1
  }
  let at = 0
  let differed: string | undefined
  while (at < steps.length) {
    const rest = steps.slice(at)
    const changing = differed !== undefined
    begins(rest[0]?.name ?? '')
    let findings: Finding[]
    try {
      findings = await look(rest, taking, { waiting: true, change: changing ? rest[0]?.change : undefined })
    } catch (error) {
      if (isAbort(error) || error instanceof Unreachable || !changing) throw error
      return fail(rest[0]!, { words: printable(messageOf(error)) })
    }
    for (const [index, finding] of findings.entries()) {
      const step = steps[at]!
      const changed = changing && index === 0
      if (holds(finding)) {
        outcome(changed ? { step: step.name, result: 'changed', words: differed! } : okOutcome(step, finding))
        differed = undefined
        at++
      } else if (changed || finding.failed || step.change === undefined) {
        return fail(step, finding)
      } else differed = finding.words
    }
  }
  return 0
}

// The findings of the steps in order. With `waiting` it stops at the first that does not hold. Shell checks that follow
// each other are sent together: a plan of a host is one ssh command. Nothing begins after an interruption.
const look = async (
  steps: Step[],
  { host, ssh, signal, begins }: Taking,
  { waiting, change }: { waiting: boolean; change?: Step['change'] }
): Promise<Finding[]> => {
  const findings: Finding[] = []
  signal.throwIfAborted()
  if (typeof change === 'function') await change()
  if (typeof change === 'string' && typeof steps[0]?.check === 'function') {
    await ssh.capture(onHost(host), change, { timeout: steps[0].timeout ?? 60 })
  }
  while (findings.length < steps.length) {
    const first = steps[findings.length]!
    begins(first.name)
    if (typeof first.check === 'function') {
      const patience = waiting && (first.change === undefined || (change !== undefined && findings.length === 0))
      findings.push(await ask({ ...first, check: first.check }, patience ? (first.within ?? 0) : 0, signal))
    } else {
      const from = steps.slice(findings.length)
      const end = from.findIndex((step) => !isAskedOnNode(step))
      findings.push(...await lookOnNode(onHost(host), ssh, {
        steps: from.slice(0, end === -1 ? undefined : end).filter(isAskedOnNode),
        waiting,
        changed: change !== undefined && findings.length === 0,
        ...(findings.length === 0 && typeof change === 'string' ? { change } : {})
      }))
    }
    if (waiting && !holds(findings.at(-1))) break
  }
  return findings
}

// Where the time of the batch is over, the check that was at work has failed. The caller goes on with those after it.
const lookOnNode = async (host: Host, ssh: Ssh, batch: Batch): Promise<Finding[]> => {
  const seconds = batchTimeout(batch)
  const result = await ssh.run(host, batchScript(batch), { timeout: seconds })
  const findings = batchFindings(result)
  if (result.exitCode === 0 && findings.length > 0) return findings
  if (result.exitCode === 0) throw new Error('the node ended the script before its first check')
  if (result.exitCode !== timedOut || !hasBegun(result)) throw new Error(lastWords(result))
  return [...findings, { words: `did not end within ${seconds} s`, failed: true }]
}

/** The exit code of timeout(1). */
const timedOut = 124

type Asked = { check: () => Promise<string>; timeout?: number }

const ask = async ({ check, timeout = 60 }: Asked, seconds: number, signal: AbortSignal): Promise<Finding> => {
  const end = Date.now() + seconds * 1000
  for (;;) {
    signal.throwIfAborted()
    let finding: Finding
    try {
      finding = findingOf(await inTime(check(), timeout))
      signal.throwIfAborted()
    } catch (error) {
      if (isAbort(error)) throw error
      finding = { words: printable(messageOf(error)), failed: true, blind: awayOf(error), refuses: error instanceof Refusal }
    }
    if (holds(finding) || finding.refuses || Date.now() >= end) return finding
    await sleep(1000, undefined, { signal })
  }
}

// A check only reads, so nothing is lost where it goes on behind our back.
const inTime = async (checking: Promise<string>, seconds: number): Promise<string> => {
  const late = new AbortController()
  const waiting = sleep(seconds * 1000, undefined, { signal: late.signal })
    .then(() => Promise.reject(new Error(`did not end within ${seconds} s`)))
  try {
    return await Promise.race([checking, waiting])
  } finally {
    late.abort()
    waiting.catch(() => {})
    checking.catch(() => {})
  }
}

// The types ensure it: a cluster step has no shell.
const onHost = (host: Host | undefined): Host => {
  if (host) return host
  throw new TypeError('a step of the cluster has shell for a node')
}

type Found = Pick<Finding, 'words' | 'blind' | 'refuses' | 'evidence'>

const evidenceOf = ({ evidence }: Found): { evidence?: string } => (evidence === undefined ? {} : { evidence })

const okOutcome = (step: Step, finding: Found): Outcome => ({ step: step.name, result: 'ok', ...evidenceOf(finding) })

const failedOutcome = (step: Step, finding: Found): Outcome => ({
  step: step.name,
  result: 'failed',
  words: finding.words,
  ...(step.hint === undefined || finding.blind ? {} : { hint: step.hint }),
  ...(step.always || finding.refuses ? { refuses: true as const } : {}),
  ...evidenceOf(finding)
})

const namedIn = (words: string, { names }: Taking): string[] =>
  names.filter((name) => new RegExp(`(?<![\\w.-])${name}(?![\\w-])`).test(words))

/** Why steps are skipped that nodes which are not well would fail. */
export const notWell = (names: string[]): string => `because ${names.join(', ')} is not well`

/** Why steps after a failure are skipped. */
export const afterFailure = 'because of the failure above'

const unlessBlind = (step: Step, finding: Finding, { away }: Taking): Outcome => {
  if (isKnown(finding, away)) return { step: step.name, result: 'skipped', words: `because ${finding.blind}` }
  if (finding.blind) away.add(finding.blind)
  return failedOutcome(step, finding)
}

const isKnown = ({ blind }: Finding, away: Set<string>): boolean => blind !== undefined && away.has(blind)
