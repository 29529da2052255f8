import { readFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { inspect, parseArgs } from 'node:util'
import { confirm, input } from '@inquirer/prompts'
import { isAbort, UsageError } from '../base/errors.mts'
import { createRun, type Run } from './run.mts'
import { readInputs } from '../input/inputs.mts'
import type { Host } from '../input/inventory.mts'
import { Locked, takeLock } from './lock.mts'
import { count, createReport, renderCounts, type Report, type Section } from './report.mts'
import { redact } from '../input/secrets.mts'
import type { Settings } from '../input/settings.mts'
import { configureSsh, traffic } from '../reach/ssh.mts'
import { closest, duration, plural } from '../base/words.mts'

/** A numbered script: what it is called, and its story, which is told once as a plan and once as an apply. */
export type Script = {
  id: string
  title: string
  /** Flags of its own, each with its line of --help: '--out FILE  ...' takes a value, '--watch     ...' none. */
  flags?: Record<string, string>
  /** The role of the hosts that it works on; both by default. */
  role?: Host['role']
  story: (run: Run) => Promise<void>
}

const exitCodes = { converged: 0, failed: 1, changes: 2, usage: 64, interrupted: 130 }

const commonFlags = {
  plan: { type: 'boolean', help: '--plan             say what would change, change nothing' },
  yes: { type: 'boolean', short: 'y', help: '--yes              apply without asking' },
  hosts: { type: 'string', help: '--hosts A,B        only these hosts of the inventory' },
  inventory: { type: 'string', help: '--inventory FILE   default: servers.tsv beside the script' },
  settings: { type: 'string', help: '--settings FILE    default: settings.yaml beside the script' },
  json: { type: 'boolean', help: '--json             the result as JSON on stdout, the text on stderr' },
  verbose: { type: 'boolean', help: '--verbose          also every fact that holds' },
  'force-unlock': { type: 'boolean', help: '--force-unlock     take the lock from a run that is dead' },
  help: { type: 'boolean', short: 'h', help: '--help             this text' }
} as const

// A script that only reads has no use for these.
const applying = ['plan', 'yes', 'force-unlock']

const flagsOf = (mode: Mode) =>
  Object.fromEntries(Object.entries(commonFlags).filter(([name]) => mode === 'apply' || !applying.includes(name)))

const exitHelp = {
  apply: 'Exit codes: 0 converged, 1 failed, 2 the plan has changes, 64 wrong usage or input, 130 interrupted.',
  validate: 'Exit codes: 0 all holds, 1 something does not, 64 wrong usage or input, 130 interrupted.'
}

type Mode = 'apply' | 'validate'

type Flags = ReturnType<typeof parseFlags>

// In --help a flag's value follows it after one blank, what it does after two.
const takesValue = (text: string): boolean => /^--\S+ \S/.test(text)

const parseFlags = (argv: string[], own: Record<string, string>, mode: Mode) => {
  const options = {
    ...Object.fromEntries(
      Object.entries(flagsOf(mode)).map(([name, { help: _, ...option }]) => [name, { ...option, multiple: true } as const])
    ),
    ...Object.fromEntries(Object.entries(own).map(([name, text]) =>
      [name, { type: takesValue(text) ? 'string' : 'boolean', multiple: true } as const]
    ))
  }
  const { values, positionals, tokens } = parseArgs({ args: argv, options, strict: false, allowPositionals: true, tokens: true })
  const faults = positionals.map((word) => fault(word, 'no arguments, only flags', 'Run with --help.'))
  for (const token of tokens) {
    if (token.kind !== 'option') continue
    const known = options[token.name]
    if (known === undefined) {
      const near = closest(token.name, Object.keys(options))
      faults.push(fault(token.rawName, 'a flag that this script has', near ? `Did you mean --${near}?` : 'Run with --help.'))
    } else if (known.type === 'string' && !token.value) {
      faults.push(fault(token.rawName, 'a value', `Give it one: ${token.rawName} VALUE.`))
    } else if (known.type === 'boolean' && token.value !== undefined) {
      faults.push(fault(token.rawName, 'no value', `Write ${token.rawName} alone.`))
    }
  }
  for (const [name, given] of Object.entries(values)) {
    if (Array.isArray(given) && given.length > 1) faults.push(fault(`--${name}`, 'it once', 'Take the others out.'))
  }
  if (faults.length > 0) throw new UsageError(faults)
  const is = (name: keyof typeof commonFlags): boolean => values[name] !== undefined
  const text = (name: string): string | undefined => {
    const value = (values[name] as (string | boolean)[] | undefined)?.[0]
    return value === true ? '' : value || undefined
  }
  return {
    ...{ plan: is('plan'), yes: is('yes'), json: is('json'), verbose: is('verbose'), help: is('help') },
    ...{ forceUnlock: is('force-unlock'), hosts: text('hosts'), inventory: text('inventory'), settings: text('settings') },
    own: Object.fromEntries(Object.keys(own).map((name) => [name, text(name)]))
  }
}

const fault = (value: string, expected: string, remedy: string) => ({ file: 'command line', what: value, expected, remedy })

/** A script's own header comment is its help. */
const help = (file: string, own: Record<string, string>, mode: Mode): string => {
  const header = readFileSync(file, 'utf8').split('\n').slice(1)
  const lines = header.slice(0, header.findIndex((line) => !line.startsWith('//'))).map((line) => line.replace(/^\/\/ ?/, ''))
  const flags = [...Object.values(own), ...Object.values(flagsOf(mode)).map(({ help: text }) => text)]
  return [...lines, '', ...flags.map((text) => `  ${text}`), '', exitHelp[mode]].join('\n')
}

const chooseHosts = (hosts: Host[], names: string | undefined): Host[] => {
  if (names === undefined) return hosts
  const all = hosts.map(({ name }) => name)
  const chosen = names.split(',').map((name) => name.trim()).filter(Boolean)
  const faults = chosen
    .filter((name) => !all.includes(name))
    .map((name) => ({
      ...fault('--hosts', `one of ${all.join(', ')}`, closest(name, all) ? `Did you mean ${closest(name, all)}?` : 'Correct it.'),
      value: name
    }))
  if (chosen.length === 0) faults.push({ ...fault('--hosts', `one of ${all.join(', ')}`, 'Name a host.'), value: names })
  if (faults.length > 0) throw new UsageError(faults)
  return hosts.filter(({ name }) => chosen.includes(name))
}

type Operation = {
  name: string
  scripts: Script[]
  flags: Flags
  settings: Settings
  hosts: Host[]
  chosen: Host[]
  report: Report
  signal: AbortSignal
  after: After | undefined
}

/** What a validation has found, and what is needed to go on from there. */
export type Validated = {
  run: Run
  sections: Section[]
  exitCode: number
  seconds: number
  say: (line: string) => void
}

type After = (validated: Validated) => Promise<{ exitCode: number } & Record<string, unknown>>

/**
 * Runs scripts as an operator asked for on the command line: reads the inputs, plans, asks, applies, and sets the exit
 * code. `file` is the script that was started; `choose` picks from `scripts` by flags of their own. With mode
 * `validate` it looks only: nothing is asked or changed, and no lock is taken; `after` may then go on with what was
 * found, and returns the exit code and what the result as JSON is to have besides.
 */
export const operate = async (
  scripts: Script[],
  file: string,
  { flags: extra = {}, choose = () => scripts, mode = 'apply', after }: {
    flags?: Record<string, string>
    choose?: (flags: Record<string, string | undefined>) => Script[]
    mode?: Mode
    after?: After
  } = {}
): Promise<void> => {
  const interrupt = new AbortController()
  configureSsh({ signal: interrupt.signal })
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      if (interrupt.signal.aborted) process.exit(exitCodes.interrupted)
      interrupt.abort()
    })
  }
  process.stdout.on('error', () => interrupt.abort()) // the reader of a pipe went away
  try {
    const own = Object.assign({}, extra, ...scripts.map(({ flags }) => flags ?? {})) as Record<string, string>
    const flags = parseFlags(process.argv.slice(2), own, mode)
    if (flags.help) return console.log(help(file, own, mode))
    const here = dirname(file)
    const wanted = choose(flags.own)
    const { settings, hosts, notes } = await readInputs({
      settings: flags.settings ?? join(here, 'settings.yaml'),
      inventory: flags.inventory ?? join(here, 'servers.tsv')
    })
    configureSsh({ connectTimeout: settings.ssh.connect_timeout, port: settings.ssh.port })
    const chosen = chooseHosts(hosts, flags.hosts)
    if (mode === 'apply' && !flags.plan && !flags.yes && !(process.stdin.isTTY && process.stderr.isTTY)) {
      throw new UsageError([fault('--yes', 'it where there is no terminal to ask at', 'Add --yes to apply, or --plan to look only.')])
    }
    const name = basename(file, '.mts').replace('09_k3s_', '')
    const report = createReport(name, flags)
    for (const note of notes) report.note(note)
    const perform = mode === 'apply' ? converge : validate
    process.exitCode = await perform({
      name, scripts: wanted, flags, settings, hosts, chosen, report, signal: interrupt.signal, after
    })
  } catch (error) {
    process.exitCode = explain(error, interrupt.signal.aborted)
  }
}

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
  const { scripts, flags, hosts, report } = operation
  const started = performance.now()
  const plan: Section[] = []
  for (const script of scripts) plan.push(await tell(script, 'plan', operation, plan.some(hasChanges)))
  const finish = (code: number, sections: Section[]): number => {
    sum(operation, sections, started)
    return print(operation, code, sections, started)
  }
  const failed = plan.some(hasFailures) ? exitCodes.failed : undefined
  const changes = plan.some(hasChanges)
  if (flags.plan) return finish(failed ?? (changes ? exitCodes.changes : exitCodes.converged), plan)
  // An apply waits for what is just coming up, as after a power failure; a plan does not.
  if (!changes && !(failed !== undefined && flags.yes)) return finish(failed ?? exitCodes.converged, plan)
  if (!flags.yes && !(await agreed(plan))) return finish(failed ?? exitCodes.changes, plan)

  if (flags.forceUnlock) await sure()
  const release = await takeLock(hosts.filter(({ role }) => role === 'server'), { script: operation.name, force: flags.forceUnlock })
  const applied: Section[] = []
  try {
    for (const script of scripts) {
      const section = await tell(script, 'apply', operation, false)
      applied.push(section)
      if (hasFailures(section)) break
    }
  } finally {
    await release().catch(() => report.note('The lock could not be given back; the next run on this bastion takes it over.'))
  }
  const left = scripts.slice(applied.length).map(({ id }) => id)
  if (left.length > 0) report.say(`Not run, because ${applied.at(-1)?.id} failed: ${left.join(', ')}. Run it again once that is mended.`)
  return finish(applied.some(hasFailures) ? exitCodes.failed : exitCodes.converged, applied)
}

const validate = async (operation: Operation): Promise<number> => {
  const { scripts, report, after } = operation
  const started = performance.now()
  const sections: Section[] = []
  for (const script of scripts) sections.push(await tell(script, 'validate', operation, false))
  sum(operation, sections, started)
  const exitCode = sections.some(hasFailures) ? exitCodes.failed : exitCodes.converged
  const run = runOf(scripts.at(-1)!, 'validate', operation, false)
  const seconds = (performance.now() - started) / 1000
  const { exitCode: code, ...more } = after ? await after({ run, sections, exitCode, seconds, say: report.say }) : { exitCode }
  return print(operation, code, sections, started, more)
}

const sum = ({ report }: Operation, sections: Section[], started: number): void => {
  if (sections.length > 1) {
    const width = Math.max(...sections.map(({ title }) => title.length))
    for (const { id, title, seconds: took } of sections) report.say(`${id}  ${title.padEnd(width)}${duration(took).padStart(12)}`)
  }
  report.say(`${renderCounts(sections)} in ${duration((performance.now() - started) / 1000)} · log ${report.logFile}`)
}

const print = ({ flags }: Operation, code: number, sections: Section[], started: number, more: object = {}): number => {
  const seconds = (performance.now() - started) / 1000
  if (flags.json) console.log(redact(JSON.stringify({ ...resultOf(code, seconds, sections), ...more }, undefined, 2)))
  return code
}

const runOf = ({ id }: Script, mode: Run['mode'], operation: Operation, pending: boolean): Run => {
  const { settings, hosts, chosen, flags, report, signal } = operation
  return createRun({ mode, script: id, hosts, settings, flags: flags.own, chosen, signal, listener: report, pending })
}

const tell = async (script: Script, mode: Run['mode'], operation: Operation, pending: boolean): Promise<Section> => {
  const { chosen, report } = operation
  report.open(script, mode, chosen.filter(({ role }) => script.role === undefined || script.role === role).length)
  try {
    await script.story(runOf(script, mode, operation, pending))
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

const agreed = async (plan: Section[]): Promise<boolean> => {
  const { change } = count(plan.flatMap(outcomesOf))
  const hosts = new Set(plan.flatMap(({ hosts: all }) =>
    [...all].filter(([, outcomes]) => count(outcomes).change > 0).map(([host]) => host)
  ))
  return confirm(
    { message: `Apply ${plural(change, 'change')} to ${plural(hosts.size, 'host')}?`, default: false },
    { output: process.stderr }
  )
}

// Two runs that change one cluster at once can lose it, so taking the lock by force is never answered by --yes.
const sure = async (): Promise<void> => {
  if (!process.stdin.isTTY || !process.stderr.isTTY) {
    throw new UsageError([fault('--force-unlock', 'a terminal, for it must be confirmed', 'Run it at a terminal.')])
  }
  await input(
    {
      message: 'Another run may be at work. Type "unlock" to take its lock:',
      validate: (answer) => answer === 'unlock' || 'Type unlock, or press ctrl-C.'
    },
    { output: process.stderr }
  )
}

const resultOf = (exitCode: number, seconds: number, sections: Section[]) => ({
  exitCode,
  seconds,
  ssh: traffic,
  scripts: sections.map(({ hosts, ...section }) => ({ ...section, hosts: Object.fromEntries(hosts) }))
})
