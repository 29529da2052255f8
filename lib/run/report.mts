import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { styleText } from 'node:util'
import ora from 'ora'
import { renderColumns } from '../base/table.mts'
import { hasColour } from '../base/environment.mts'
import { home } from '../base/home.mts'
import { now, openLog } from './log.mts'
import type { Outcome } from './modes.mts'
import type { Listener, Run } from './run.mts'
import { redact } from '../input/secrets.mts'
import { plural } from '../base/words.mts'

type Style = Parameters<typeof styleText>[0]
type Mode = Run['mode']

/** How a report is printed: with colour or without. Every fact that holds, only those with evidence, or only their number. */
export type Look = { colour: boolean; verbose: boolean; evidence?: boolean }

/** What one script found and did on each host (and "cluster"), in the order in which it happened. */
export type Section = {
  id: string
  title: string
  mode: Mode
  seconds: number
  hosts: Map<string, Outcome[]>
}

/** How many outcomes of each kind. */
export type Counts = { ok: number; change: number; unknown: number; failed: number; skipped: number }

const signs: Record<Outcome['result'], [string, Style]> = {
  ok: ['✓', 'green'],
  changed: ['~', 'yellow'],
  pending: ['~', 'yellow'],
  unknown: ['?', 'cyan'],
  failed: ['✗', 'red'],
  skipped: ['–', 'dim']
}

const paint = (style: Style, text: string, { colour }: Pick<Look, 'colour'>): string =>
  colour ? styleText(style, text, { validateStream: false }) : text

/** Counts outcomes; changed and pending are both changes. */
export const count = (outcomes: Iterable<Outcome>): Counts => {
  const counts = { ok: 0, change: 0, unknown: 0, failed: 0, skipped: 0 }
  for (const { result } of outcomes) {
    counts[result === 'changed' || result === 'pending' ? 'change' : result]++
  }
  return counts
}

/** The title line of a script: number, title, and on the right what is about to happen. */
export const renderTitle = ({ id, title }: Pick<Section, 'id' | 'title'>, right: string, look: Look): string => {
  const left = `${id}  ${title}`
  const gap = ' '.repeat(Math.max(2, 80 - left.length - right.length))
  return `${paint('bold', left, look)}${gap}${paint('dim', right, look)}`
}

/** The block of one host: its name once, then one line for each step that differs, and how many others hold. */
export const renderBlock = (host: string, outcomes: Outcome[], look: Look): string[] => {
  const shown = outcomes.filter((outcome) => isShown(outcome, look))
  const skipped = look.verbose ? [] : outcomes.filter(({ result }) => result === 'skipped')
  const hidden = outcomes.length - shown.length - skipped.length
  const width = Math.min(44, Math.max(...shown.map(({ step }) => step.length), 0))
  const lines = shown.flatMap((outcome) => outcomeLines(outcome, width, look))
  for (const [words, some] of Map.groupBy(skipped, (one) => one.words)) lines.push(paint('dim', `– ${some.length} skipped, ${words}`, look))
  if (hidden > 0) lines.push(paint('dim', `✓ ${hidden} ${shown.length > 0 ? 'more ' : ''}hold${hidden === 1 ? 's' : ''}`, look))
  const column = Math.max(16, host.length + 2)
  return lines.map((line, index) => `${(index === 0 ? host : '').padEnd(column)}${line}`)
}

// Skipped steps are told together.
const isShown = ({ result, evidence }: Outcome, { verbose, evidence: shown }: Look): boolean =>
  verbose || (result !== 'ok' && result !== 'skipped') || (shown === true && evidence !== undefined)

const wordsOf = ({ result, words = '', evidence = '', hint }: Outcome): string[] => [
  ...(result === 'ok' ? evidence : words).split('\n'),
  ...(hint === undefined ? [] : [`Hint: ${hint}`])
]

const outcomeLines = (outcome: Outcome, width: number, look: Look): string[] => {
  const { step, result } = outcome
  const [sign, style] = signs[result]
  const [first = '', ...rest] = wordsOf(outcome)
  const name = first === '' ? step : step.padEnd(width)
  const head = `${paint(style, sign, look)} ${name}${first === '' ? '' : `  ${paint('dim', first, look)}`}`
  const indent = ' '.repeat(result === 'failed' ? 2 : width + 4)
  return [head, ...rest.map((line) => `${indent}${paint(result === 'failed' ? 'red' : 'dim', line, look)}`)]
}

/** The table of counts with its heading: one row for each host. */
export const renderTable = (section: Section, look: Look): string[] => {
  const between = section.mode === 'validate' ? [] : [section.mode === 'plan' ? 'CHANGE' : 'CHANGED', 'UNKNOWN']
  const skips = [...section.hosts.values()].some((outcomes) => count(outcomes).skipped > 0)
  const heading = ['HOST', 'OK', ...between, 'FAILED', ...(skips ? ['SKIPPED'] : [])]
  const numbers = heading.slice(1).map(() => 'right' as const)
  const rows = [...section.hosts].toSorted(([a], [b]) => a.localeCompare(b)).map(([host, outcomes]) => {
    const { ok, change, unknown, failed, skipped } = count(outcomes)
    return [host, ok, ...(between.length > 0 ? [change, unknown] : []), failed, ...(skips ? [skipped] : [])].map(String)
  })
  const [first = '', ...lines] = renderColumns([heading, ...rows], ['left', ...numbers], { least: [16] })
  return [paint('dim', first, look), ...lines]
}

/** "2 changes, 1 unknown, 1 host failed, 3 skipped": the counts in words; of a validation "210 checks hold, 1 fails". */
export const renderCounts = (sections: Section[]): string => {
  const all = sections.flatMap(({ hosts }) => [...hosts.values()].flat())
  const { ok, change, unknown, failed: fails, skipped } = count(all)
  const left = skipped > 0 ? [`${skipped} skipped`] : []
  if (sections.some(({ mode }) => mode === 'validate')) {
    return [`${plural(ok, 'check')} hold${ok === 1 ? 's' : ''}`, fails === 0 ? 'none fails' : `${fails} fail${fails === 1 ? 's' : ''}`, ...left].join(', ')
  }
  const failed = new Set(sections.flatMap(({ hosts }) =>
    [...hosts].filter(([, outcomes]) => count(outcomes).failed > 0).map(([host]) => host)
  )).size
  return [
    plural(change, 'change'),
    unknown > 0 ? `${unknown} unknown` : '',
    failed > 0 ? `${plural(failed, 'host')} failed` : '',
    ...left
  ].filter(Boolean).join(', ')
}

export type Report = Listener & {
  sections: Section[]
  /** The file that holds everything, without secrets. */
  logFile: string
  /** A line for the operator. */
  say: (line: string) => void
  /** Opens the section of a script. Outcomes belong to it until the next section. */
  open: (script: { id: string; title: string }, mode: Mode, hosts: number) => void
  /** Closes the section: shows its table. */
  close: () => void
}

/**
 * The report of a run. On a terminal: a live line on stderr, and the block of a host once it has something to show. Else
 * one line for each event, with the time and the host. With `json` the text goes to stderr: stdout is for the result.
 */
export const createReport = (name: string, { json, verbose }: { json: boolean; verbose: boolean }): Report => {
  const text = json ? process.stderr : process.stdout
  // ora counts lines by the width of the terminal. Without a width it would count for ever.
  const live = text.isTTY === true && process.stderr.isTTY === true && process.stderr.columns > 0 && process.env['TERM'] !== 'dumb'
  const look: Look = { colour: hasColour(text), verbose }
  const folder = home('logs')
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const logFile = join(folder, `${new Date().toISOString().slice(0, 19).replaceAll(':', '-')}_${name}.log`)
  const append = openLog(logFile, (line) => process.stderr.write(`${line}\n`))
  const log = (line: string): void => append(redact(line))

  const spinner = ora({ stream: process.stderr, isEnabled: live, discardStdin: false })
  const write = (line: string): void => {
    if (live && spinner.isSpinning) spinner.clear()
    text.write(`${redact(line)}\n`)
  }
  const say = (line: string): void => {
    log(line)
    write(line)
  }

  const sections: Section[] = []
  const busy = new Map<string, string>()
  let told = new Map<string, number>()
  const skips = new Set<string | undefined>() // the reasons that were told
  let started = 0
  const section = (): Section => sections.at(-1)!
  const doing = (): string => {
    const [host, what] = [...busy].at(-1) ?? []
    if (host === undefined) return ''
    return redact(`${section().id}  ${host}: ${what}${busy.size > 1 ? `  (and ${plural(busy.size - 1, 'more host')})` : ''}`)
  }
  const progress = (): void => {
    if (!live) return
    const words = doing()
    if (words === '') return void spinner.stop()
    spinner.text = words.slice(0, (process.stderr.columns ?? 80) - 3)
    if (!spinner.isSpinning) spinner.start()
  }
  // Without a terminal nothing else says that the run goes on.
  let waiting: NodeJS.Timeout | undefined
  const tick = (): void => {
    const words = doing()
    if (words !== '') process.stderr.write(`${now()} ... ${words}\n`)
  }

  return {
    sections,
    logFile,
    say,
    note: (line) => {
      log(line)
      process.stderr.write(`${redact(line)}\n`)
    },
    open: ({ id, title }, mode, hosts) => {
      sections.push({ id, title, mode, seconds: 0, hosts: new Map() })
      look.evidence = mode === 'validate'
      told = new Map()
      started = performance.now()
      skips.clear()
      if (!live) waiting = setInterval(tick, quiet).unref()
      log(`${id} ${title} (${mode})`)
      write(renderTitle({ id, title }, `${mode} · ${plural(hosts, 'host')}`, look))
    },
    begins: (target, doing) => {
      busy.set(target, doing)
      log(`${target}: ... ${doing}`)
      progress()
    },
    outcome: (target, outcome) => {
      const { hosts } = section()
      if (!hosts.has(target)) hosts.set(target, [])
      hosts.get(target)!.push(outcome)
      const [sign] = signs[outcome.result]
      const words = wordsOf(outcome).filter(Boolean).join(' | ')
      const line = `${target.padEnd(15)} ${sign} ${outcome.step}${words ? `: ${words}` : ''}`
      log(line)
      const first = outcome.result === 'skipped' && !skips.has(outcome.words)
      if (first) skips.add(outcome.words)
      if (!text.isTTY && (first || isShown(outcome, look))) write(`${now()} ${line}`)
    },
    ends: (target) => {
      busy.delete(target)
      const outcomes = section().hosts.get(target) ?? []
      const fresh = outcomes.slice(told.get(target) ?? 0)
      if (text.isTTY && fresh.some((outcome) => isShown(outcome, look) || outcome.result === 'skipped')) {
        told.set(target, outcomes.length)
        for (const line of renderBlock(target, fresh, look)) write(line)
      }
      progress()
    },
    close: () => {
      clearInterval(waiting)
      spinner.stop()
      busy.clear()
      const done = section()
      done.seconds = (performance.now() - started) / 1000
      if (done.hosts.size > 0) for (const line of renderTable(done, look)) write(line)
    }
  }
}

/** Milliseconds after which a run without a terminal says what it is at. */
const quiet = 20_000
