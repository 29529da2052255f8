import { basename, dirname, join } from 'node:path'
import { writeFile } from 'node:fs/promises'
import { inspect } from 'node:util'
import { useProxy } from '../base/environment.mts'
import { isAbort, UsageError } from '../base/errors.mts'
import { tooOld } from '../base/node.mts'
import { renderColumns } from '../base/table.mts'
import { closest, duration, plural } from '../base/words.mts'
import { readInputs } from '../input/inputs.mts'
import type { Host } from '../input/inventory.mts'
import { redact } from '../input/secrets.mts'
import { contextOf, serverUrl } from '../input/settings.mts'
import { createKubectl } from '../reach/kubectl.mts'
import { artifacts, type Release } from '../reach/release.mts'
import { createSsh } from '../reach/ssh.mts'
import { agreed, hasTerminal, needTerminal, typed } from './confirm.mts'
import { flag, flagLines, misuse, output, parseFlags, value, type Flags, type Values } from './flags.mts'
import { readHeader } from './header.mts'
import { Locked, withLock } from './lock.mts'
import { outputFaults, preflight, type Output } from './preflight.mts'
import { count, createReport, renderCounts, type Report, type Section } from './report.mts'
import { createRun, withRoles, type Means, type Run } from './run.mts'
import { renderRunbook } from './runbook.mts'

const old = tooOld(process.versions.node, join(import.meta.dirname, '../..'))
if (old !== '') {
  console.error(old)
  process.exit(64)
}

/** A numbered script: its name and its story. The story runs once as a plan and once as an apply. */
export type Script = {
  id: string
  title: string
  /** Its own file, whose header comment is its help. */
  file: string
  /** Flags of its own. */
  flags: Flags
  /** The role of the hosts that it works on; both by default. */
  role?: Host['role']
  story: (run: Run, flags: never) => Promise<void>
}

type Told<Own extends Flags> = Omit<Script, 'flags' | 'story'> & {
  flags?: Own
  story: (run: Run, flags: Values<Own>) => Promise<void>
}

/** Makes a script. Its story gets what was given for its own flags. */
export const script = <Own extends Flags = Record<never, never>>(told: Told<Own>): Script => ({ flags: {}, ...told })

const exitCodes = { converged: 0, failed: 1, changes: 2, usage: 64, interrupted: 130 }

const commonFlags = {
  plan: flag('say what would change, change nothing'),
  yes: flag('apply without asking', 'y'),
  hosts: value('A,B', 'only these hosts of the inventory'),
  inventory: value('FILE', 'default: servers.tsv beside the script'),
  settings: value('FILE', 'default: settings.yaml beside the script'),
  artifacts: value('DIR', 'a folder that holds the files of the K3s release already'),
  runbook: output('write how all this is done by hand (- for stdout); contacts no host'),
  json: flag('the result as JSON on stdout, the text on stderr'),
  verbose: flag('also every fact that holds'),
  'force-unlock': flag('take the lock from a run that is dead; must be confirmed at a terminal'),
  help: flag('this text', 'h')
}

// A script that only reads has no use for these.
const applying = ['plan', 'yes', 'force-unlock']

const flagsOf = (mode: Mode): Flags =>
  Object.fromEntries(Object.entries(commonFlags).filter(([name]) => mode === 'apply' || !applying.includes(name)))

const exitHelp = {
  apply: 'Exit codes: 0 converged, 1 failed, 2 the plan has changes, 64 wrong usage or input, 130 interrupted.',
  validate: 'Exit codes: 0 all holds, 1 something does not, 64 wrong usage or input, 130 interrupted.'
}

type Mode = 'apply' | 'validate'

const help = (file: string, flags: Flags, mode: Mode): string =>
  [...readHeader(file).lines, '', ...flagLines(flags).map((line) => `  ${line}`), '', exitHelp[mode]].join('\n')

const chooseHosts = (hosts: Host[], names: string | undefined): Host[] => {
  if (names === undefined) return hosts
  const all = hosts.map(({ name }) => name)
  const chosen = names.split(',').map((name) => name.trim()).filter(Boolean)
  const expected = `one of ${all.join(', ')}`
  const faults = chosen.filter((name) => !all.includes(name)).map((name) =>
    misuse('--hosts', expected, closest(name, all) ? `Did you mean ${closest(name, all)}?` : 'Correct it.', name))
  if (chosen.length === 0) faults.push(misuse('--hosts', expected, 'Name a host.', names))
  if (faults.length > 0) throw new UsageError(faults)
  return hosts.filter(({ name }) => chosen.includes(name))
}

type Operation = {
  name: string
  scripts: Script[]
  flags: Values<typeof commonFlags>
  own: never
  means: Means
  report: Report
  after: After | undefined
}

/** What a validation has found, and what is needed to continue. */
export type Validated = {
  run: Run
  sections: Section[]
  exitCode: number
  seconds: number
  say: (line: string) => void
}

type Went = { exitCode: number } & Record<string, unknown>
type After = (validated: Validated, flags: never) => Promise<Went>

type Options<Own extends Flags> = {
  /** Flags beside those of the scripts. */
  flags?: Own
  /** Picks from the scripts. */
  choose?: (flags: Values<Own>) => Script[]
  /** `validate` only checks: nothing is asked or changed, and no lock is taken. */
  mode?: Mode
  /** Continues with what a validation has found. Returns the exit code, and more fields for the JSON result. */
  after?: (validated: Validated, flags: Values<Own>) => ReturnType<After>
}

/**
 * Runs scripts from the command line: reads the inputs, plans, asks, applies, and sets the exit code. `file` is the script
 * that was started.
 */
export const operate = async <Own extends Flags = Record<never, never>>(
  scripts: Script[],
  file: string,
  { flags: extra, choose = () => scripts, mode = 'apply', after }: Options<Own> = {}
): Promise<void> => {
  const interrupt = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      if (signal === 'SIGHUP' && ignoresHangup()) return
      if (interrupt.signal.aborted) process.exit(exitCodes.interrupted)
      interrupt.abort()
    })
  }
  watchOutput(interrupt)
  try {
    const ofScripts = scripts.flatMap(({ flags }) => Object.entries(flags)).filter(([, one]) => scripts.length === 1 || !one.instead)
    const known: Flags = { ...extra, ...Object.fromEntries(ofScripts), ...flagsOf(mode) }
    const given = parseFlags(process.argv.slice(2), known)
    const flags = given as Values<typeof commonFlags>
    const own = given as never
    if (flags.help) return console.log(help(file, known, mode))
    const here = dirname(file)
    const wanted = choose(own)
    const { settings, hosts, machines, notes } = await readInputs({
      settings: flags.settings ?? join(here, 'settings.yaml'),
      inventory: flags.inventory ?? join(here, 'servers.tsv')
    })
    const chosen = chooseHosts(hosts, flags.hosts)
    const { signal } = interrupt
    const outputs = outputsOf(known, given)
    if (flags.runbook !== undefined) {
      const faults = outputFaults(outputs)
      if (faults.length > 0) throw new UsageError(faults)
      const text = await renderRunbook(wanted, own, { hosts, machines, chosen, settings, signal })
      return flags.runbook === '-' ? void process.stdout.write(text) : await writeFile(flags.runbook, text)
    }
    if (mode === 'apply' && !flags.plan && !flags.yes && !hasTerminal()) {
      throw new UsageError([misuse('--yes', 'it where there is no terminal to ask at', 'Add --yes to apply, or --plan to look only.')])
    }
    preflight(outputs)
    useProxy([settings.k3s.release_url])
    const name = basename(file, '.mts').replace('09_k3s_', '')
    const report = createReport(name, flags)
    for (const note of notes) report.note(note)

    const ssh = createSsh({ connectTimeout: settings.ssh.connect_timeout, port: settings.ssh.port, signal, say: report.note })
    let asked: Promise<Release> | undefined
    const release = (): Promise<Release> => (asked ??= artifacts(settings, { dir: flags.artifacts, signal, say: report.note }))
    const kubectl = createKubectl({
      k3s: async () => (await release()).k3s.file,
      context: contextOf(settings),
      servers: withRoles(hosts).servers.map(serverUrl),
      signal,
      say: report.note
    })
    const means: Means = { hosts, machines, chosen, settings, signal, ssh, kubectl, release, sick: new Set() }
    const perform = mode === 'apply' ? converge : validate
    process.exitCode = await perform({ name, scripts: wanted, flags, own, means, report, after: after as After | undefined })
  } catch (error) {
    process.exitCode = explain(error, interrupt.signal.aborted)
  }
}

// Node forgets that nohup ignores SIGHUP, so lib/run/start.sh says it. Without a word of it: nohup leaves no terminal.
const ignoresHangup = (): boolean => {
  const said = process.env['KEYBUZZ_NOHUP']
  return said === undefined ? ![process.stdin, process.stdout, process.stderr].some(({ isTTY }) => isTTY) : said !== ''
}

// Where the reader of a pipe has ended, nobody waits for the run. On a full disk it goes on, and does not exit with 0.
const watchOutput = (interrupt: AbortController): void => {
  let lost = false
  const watch = (error: NodeJS.ErrnoException, isResult: boolean): void => {
    if (error.code === 'EPIPE') return interrupt.abort()
    if (lost || !isResult) return
    lost = true
    console.error(`The result cannot be written to stdout: ${error.message}`)
    process.on('exit', (code) => {
      if (code === exitCodes.converged || code === exitCodes.changes) process.exitCode = exitCodes.failed
    })
  }
  process.stdout.on('error', (error) => watch(error, true))
  process.stderr.on('error', (error) => watch(error, false))
}

const outputsOf = (known: Flags, given: Record<string, unknown>): Output[] =>
  Object.entries(known).flatMap(([name, { writes }]) => {
    const file = given[name]
    return writes && typeof file === 'string' && file !== '-' ? [{ flag: `--${name}`, file }] : []
  })

const explain = (error: unknown, interrupted: boolean): number => {
  if (interrupted || isAbort(error) || (error instanceof Error && error.name === 'ExitPromptError')) {
    console.error('Interrupted. Nothing is left running on the nodes; run it again to go on from there.')
    return exitCodes.interrupted
  }
  if (error instanceof UsageError) {
    console.error(redact(error.message))
    return exitCodes.usage
  }
  if (error instanceof Locked) {
    console.error(error.message)
    return exitCodes.failed
  }
  const isBug = error instanceof TypeError || error instanceof ReferenceError || !(error instanceof Error)
  console.error(redact(isBug ? inspect(error) : error.message))
  return exitCodes.failed
}

const converge = async (operation: Operation): Promise<number> => {
  const { scripts, flags, means, report } = operation
  if (flags['force-unlock'] && !flags.plan) needTerminal('--force-unlock')
  const started = performance.now()
  const plan: Section[] = []
  for (const script of scripts) plan.push(await tell(script, 'plan', operation, plan.some(hasChanges)))
  const finish = (code: number, sections: Section[]): number => {
    sum(operation, sections, started)
    return print(operation, code, sections, started)
  }
  const failed = plan.some(hasFailures) ? exitCodes.failed : undefined
  const refusals = [...new Set(plan.flatMap(({ hosts }) => [...hosts].flatMap(([target, outcomes]) =>
    outcomes.filter(({ refuses }) => refuses).map(({ step }) => `${target} "${step}"`))))]
  const changes = plan.some(hasChanges)
  if (refusals.length > 0) {
    report.say(`Nothing may be changed while these fail: ${refusals.join(', ')}.`)
    return finish(exitCodes.failed, plan)
  }
  if (flags.plan) return finish(failed ?? (changes ? exitCodes.changes : exitCodes.converged), plan)
  // An apply waits for hosts that are still starting, such as after a power failure. A plan does not.
  if (!changes && !(failed !== undefined && flags.yes)) return finish(failed ?? exitCodes.converged, plan)
  if (!flags.yes && !(await agreed(question(plan)))) return finish(failed ?? exitCodes.changes, plan)

  const force = flags['force-unlock']
  // Two runs that change one cluster at once can lose it, so --yes does not answer this.
  if (force) await typed('unlock', 'Another run may be at work, and its lock is taken from it.')
  const applied: Section[] = []
  await withLock({ ...means, note: report.note }, { script: operation.name, force }, async () => {
    for (const script of scripts) {
      const section = await tell(script, 'apply', operation, false)
      applied.push(section)
      if (hasFailures(section)) break
    }
  })
  const left = scripts.slice(applied.length).map(({ id }) => id)
  if (left.length > 0) report.say(`Not run, because ${applied.at(-1)?.id} failed: ${left.join(', ')}. Run it again once that is mended.`)
  return finish(applied.some(hasFailures) ? exitCodes.failed : exitCodes.converged, applied)
}

const validate = async (operation: Operation): Promise<number> => {
  const { scripts, own, means, report, after } = operation
  const started = performance.now()
  const sections: Section[] = []
  for (const script of scripts) sections.push(await tell(script, 'validate', operation, false))
  sum(operation, sections, started)
  const exitCode = sections.some(hasFailures) || sections.some(hasSkipped) ? exitCodes.failed : exitCodes.converged
  const run = runOf(scripts.at(-1)!, 'validate', operation, false)
  const seconds = (performance.now() - started) / 1000
  const goOn = async (): Promise<Went> => (after ? after({ run, sections, exitCode, seconds, say: report.say }, own) : { exitCode })
  const { exitCode: code, ...more } = await goOn().catch((error: unknown) => {
    if (means.signal.aborted || isAbort(error)) throw error
    return { exitCode: explain(error, false) } // what was found is printed all the same
  })
  return print(operation, code, sections, started, more)
}

const sum = ({ report }: Operation, sections: Section[], started: number): void => {
  if (sections.length > 1) {
    const rows = sections.map(({ id, title, seconds }) => [id, title, duration(seconds)])
    for (const line of renderColumns(rows, ['left', 'left', 'right'], { least: [0, 0, 10] })) report.say(line)
  }
  report.say(`${renderCounts(sections)} in ${duration((performance.now() - started) / 1000)} · log ${report.logFile}`)
}

const print = ({ flags, means }: Operation, code: number, sections: Section[], started: number, more: object = {}): number => {
  const seconds = (performance.now() - started) / 1000
  if (flags.json) console.log(redact(JSON.stringify({ ...resultOf(means, code, seconds, sections), ...more }, undefined, 2)))
  return code
}

type Telling = Exclude<Run['mode'], 'runbook'>

const runOf = ({ id }: Script, mode: Telling, { means, report }: Operation, pending: boolean): Run =>
  createRun({ ...means, mode, script: id, listener: report, pending })

const tell = async (script: Script, mode: Telling, operation: Operation, pending: boolean): Promise<Section> => {
  const { means: { chosen }, own, report } = operation
  report.open(script, mode, chosen.filter(({ role }) => script.role === undefined || script.role === role).length)
  try {
    await script.story(runOf(script, mode, operation, pending), own)
  } finally {
    report.close()
  }
  return report.sections.at(-1)!
}

const outcomesOf = (section: Section) => [...section.hosts.values()].flat()
const hasChanges = (section: Section): boolean => {
  const { change, unknown } = count(outcomesOf(section))
  return change + unknown > 0
}
const hasFailures = (section: Section): boolean => count(outcomesOf(section)).failed > 0
const hasSkipped = (section: Section): boolean => count(outcomesOf(section)).skipped > 0

const question = (plan: Section[]): string => {
  const { change } = count(plan.flatMap(outcomesOf))
  const hosts = new Set(plan.flatMap(({ hosts: all }) =>
    [...all].filter(([, outcomes]) => count(outcomes).change > 0).map(([host]) => host)
  ))
  return `Apply ${plural(change, 'change')} to ${plural(hosts.size, 'host')}?`
}

const resultOf = ({ ssh }: Means, exitCode: number, seconds: number, sections: Section[]) => ({
  exitCode,
  seconds,
  ssh: ssh.traffic,
  scripts: sections.map(({ hosts, ...section }) => ({ ...section, hosts: Object.fromEntries(hosts) }))
})
