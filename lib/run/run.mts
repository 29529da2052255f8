import pMap from 'p-map'
import { isAbort, messageOf } from '../base/errors.mts'
import { printable } from '../base/words.mts'
import type { Host, Machine } from '../input/inventory.mts'
import type { Settings } from '../input/settings.mts'
import type { Kubectl } from '../reach/kubectl.mts'
import type { Release } from '../reach/release.mts'
import { Unreachable, type Ssh } from '../reach/ssh.mts'
import { afterFailure, apply, notWell, plan, validate, type Outcome } from './modes.mts'
import type { ClusterStep, NodeStep, Step } from './step.mts'

/** Receives the outcomes as they come. `target` is a host's name, "cluster", or another subject of `once`. */
export type Listener = {
  begins: (target: string, doing: string) => void
  outcome: (target: string, outcome: Outcome) => void
  ends: (target: string) => void
  note: (line: string) => void
}

/** Something that the steps need to know of a host. */
export type Question = {
  /** Completes "which": "NIC has IP_PRIVEE". */
  what: string
  /** Read-only shell that prints the answer. */
  shell: (host: Host) => string
  /** The answer that a runbook goes on with: that of a bare node, or a placeholder such as <NIC>. */
  bare: string
}

/**
 * One pass of a script over the hosts. Stories get it. Only an apply changes something: a plan says what would change, a
 * validation says that it has failed, a runbook prints how it is done by hand and contacts no host.
 */
export type Run = {
  mode: 'plan' | 'apply' | 'validate' | 'runbook'
  /** Every K3s host of the inventory, also those that --hosts leaves out. */
  hosts: Host[]
  /** The other servers of the inventory, such as databases. No script works on them. */
  machines: Machine[]
  /** The hosts of --hosts, all by default. Only these are worked on. */
  chosen: Host[]
  servers: Host[]
  agents: Host[]
  settings: Settings
  /** Aborted when the operator interrupts the run. */
  signal: AbortSignal
  ssh: Ssh
  kubectl: Kubectl
  /** The files of the K3s release on the bastion, downloaded and verified when they are first asked for. */
  release: () => Promise<Release>
  /** Tells the operator something that belongs to no step. */
  note: (line: string) => void
  /**
   * Does steps on hosts, as many hosts at once as ssh.parallel says. With `atOnce` an apply does so many at once, and
   * starts no other host after one of them has failed. With `firstAlone` the first host then goes alone.
   */
  on: (hosts: Host[], steps: (host: Host) => NodeStep[] | Promise<NodeStep[]>, options?: { atOnce?: number; firstAlone?: boolean }) => Promise<void>
  /**
   * Does steps of the cluster, from the bastion. `subject` is what the report calls it, such as an application: what fails
   * there stops its own steps only. By default it is the cluster, and what fails there stops all subjects.
   */
  once: (steps: ClusterStep[], subject?: string) => Promise<void>
  /** Asks hosts, and returns what each printed, by its name. A host that fails is reported and left out. */
  ask: (hosts: Host[], question: Question) => Promise<Map<string, string>>
  /** Says that the story ends here, because of what did not hold. */
  skipRest: () => void
  /** True as long as nothing failed on the host, or in the steps of the cluster or of a subject. */
  stands: (target: Host | string) => boolean
  /** The names of the hosts that a validation has found not to be well. */
  sick: () => string[]
}

/** What all scripts of one command line work with. */
/** `sick` holds the hosts that a validation has found not to be well, for the scripts that follow. */
export type Means = { sick?: Set<string> } & Pick<Run, 'hosts' | 'machines' | 'chosen' | 'settings' | 'signal' | 'ssh' | 'kubectl' | 'release'>

type RunContext = Means & {
  mode: 'plan' | 'apply' | 'validate'
  /** The script that runs. A validation names it as the remedy. */
  script: string
  listener: Listener
  /** True where an earlier script of the same plan has changes to make. */
  pending: boolean
}

export const withRoles = (hosts: Host[]) => ({
  servers: hosts.filter(({ role }) => role === 'server'),
  agents: hosts.filter(({ role }) => role === 'agent')
})

/** Starts a pass. See Run. */
export const createRun = ({ mode, script, listener, pending, sick = new Set(), ...means }: RunContext): Run => {
  const { hosts, chosen, settings, signal, ssh } = means
  const failed = new Set<string>()
  const unreachable = new Set<string>()
  const skipping = new Set<string>()
  const changing = new Set<string>()
  const away = new Set<string>()
  let anyPending = pending
  // A validation looks at everything that it can reach and that is well.
  const isOut = (target: string): boolean =>
    mode === 'validate' ? unreachable.has(target) || sick.has(target) : failed.has(target)

  const outcomeOf = (target: string) => (one: Outcome): void => {
    if (one.result === 'failed' || one.result === 'skipped') failed.add(target)
    if (one.result === 'pending') {
      changing.add(target)
      anyPending = true
    }
    listener.outcome(target, one)
  }
  const skip = (target: string, words: string): void => {
    if (skipping.has(target)) return
    skipping.add(target)
    outcomeOf(target)({ step: 'what follows', result: 'skipped', words })
    listener.ends(target)
  }

  const take = async (target: string, host: Host | undefined, steps: () => Promise<Step[]>, dependent: boolean) => {
    const outcome = outcomeOf(target)
    const taking = { host, ssh, signal, outcome, away, sick, names: hosts.map(({ name }) => name), begins: (doing: string): void => listener.begins(target, doing) }
    try {
      if (mode === 'plan') await plan(await steps(), taking, { dependent, isChanging: () => changing.has(target) })
      else if (mode === 'validate') await validate(await steps(), taking, script)
      else if (await apply(await steps(), taking) > 0) skip(target, afterFailure)
    } catch (error) {
      if (isAbort(error)) throw error
      if (error instanceof Unreachable) {
        unreachable.add(target)
        sick.add(target)
      }
      const step = error instanceof Unreachable ? 'answers over ssh' : 'can be worked on'
      outcome({ step, result: 'failed', words: printable(messageOf(error)) })
    }
    listener.ends(target)
  }

  const left = (some: Host[]): Host[] => {
    const wanted = some.filter((host) => chosen.includes(host))
    for (const { name } of wanted.filter((host) => isOut(host.name))) skip(name, sick.has(name) ? notWell([name]) : afterFailure)
    return wanted.filter(({ name }) => !isOut(name))
  }

  return {
    ...means,
    ...withRoles(hosts),
    mode,
    note: listener.note,
    skipRest: () => listener.note(`The rest of ${script} is skipped, because of the lines above.`),
    stands: (target) => !isOut(typeof target === 'string' ? target : target.name),
    sick: () => [...sick],
    on: async (some, steps, { atOnce, firstAlone = false } = {}) => {
      const careful = atOnce !== undefined && mode === 'apply'
      const dependent = anyPending
      const hosts = left(some)
      const work = async (host: Host): Promise<void> => {
        const broken = hosts.find(({ name }) => failed.has(name))
        if (careful && broken) return skip(host.name, `because ${broken.name} failed`)
        await take(host.name, host, async () => steps(host), dependent)
      }
      const alone = careful && firstAlone ? 1 : 0
      await each(hosts.slice(0, alone), 1, work)
      await each(hosts.slice(alone), careful ? atOnce : settings.ssh.parallel, work)
    },
    once: async (steps, subject = 'cluster') => {
      if (isOut('cluster') || isOut(subject)) return skip(subject, afterFailure)
      await take(subject, undefined, async () => steps, anyPending)
    },
    ask: async (some, { shell }) => {
      const answers = new Map<string, string>()
      await each(some.filter(({ name }) => !isOut(name)), settings.ssh.parallel, (host) =>
        take(host.name, host, async () => {
          answers.set(host.name, (await ssh.capture(host, shell(host))).trim())
          return []
        }, false))
      return answers
    }
  }
}

// All are waited for, also after an interruption: only then nothing is at work any more, and the lock may be given back.
const each = async (hosts: Host[], atOnce: number, work: (host: Host) => Promise<void>): Promise<void> => {
  const errors: unknown[] = []
  await pMap(hosts, (host) => work(host).catch((error: unknown) => void errors.push(error)), { concurrency: atOnce })
  if (errors.length > 0) throw errors.find(isAbort) ?? errors[0]
}
