import { setTimeout as sleep } from 'node:timers/promises'
import { styleText } from 'node:util'
import ora from 'ora'
import { hasColour } from '../base/environment.mts'
import { renderColumns } from '../base/table.mts'
import { age, milliseconds } from '../base/words.mts'
import type { Host } from '../input/inventory.mts'
import type { Answer } from '../reach/http.mts'
import { checkInWords, inShort, makeCheck, passes, type Check } from './check.mts'

type WatchOptions = {
  /** Ends it. */
  signal: AbortSignal
  /** Told each verdict that turns, where there is no terminal to draw on. */
  say: (line: string) => void
}

/**
 * Makes the check of every host at its interval until it is interrupted. On a terminal: a table on stderr that is painted
 * over in place; elsewhere a line for each verdict that turns.
 */
export const watch = async (hosts: Host[], check: Check, { signal, say }: WatchOptions): Promise<void> => {
  const tallies = new Map<string, Tally | undefined>(hosts.map(({ name }) => [name, undefined]))
  say(`${checkInWords(check)}; ${check.retries} in a row turn a node's verdict. ctrl-C ends it.`)
  // A terminal that does not know its width has 0 columns. ora would count lines by that.
  const table = process.stderr.isTTY === true && process.stderr.columns > 0 ? createTable(tallies, check) : undefined
  const follow = async ({ name, address }: Host): Promise<void> => {
    for (let next = Date.now(); !signal.aborted; next = Math.max(next + check.interval * 1000, Date.now())) {
      await sleep(next - Date.now(), undefined, { signal }).catch(() => {})
      const answer = await makeCheck(address, check, signal)
      if (signal.aborted) return
      const before = tallies.get(name)
      const tally = count(before, answer, check.retries, Date.now())
      tallies.set(name, tally)
      if (table) table.paint()
      else if (tally.verdict !== (before?.verdict ?? 'unknown')) say(`${new Date().toISOString().slice(0, 19)}Z ${turnInWords(name, tally)}`)
    }
  }
  await Promise.all(hosts.map(follow))
  table?.end()
}

// The table is ora's text. ora paints it again each second, so that ages go on.
const createTable = (tallies: Map<string, Tally | undefined>, check: Check) => {
  const { stderr } = process
  const colour = hasColour(stderr)
  const draw = (): string =>
    renderWatch(tallies, check, Date.now(), { colour, columns: (stderr.columns ?? 80) - 1 }).slice(0, (stderr.rows ?? 24) - 2).join('\n')
  const painter = ora({ stream: stderr, discardStdin: false, spinner: { interval: 1000, frames: [''] }, prefixText: draw })
  painter.start()
  return {
    paint: (): void => void painter.render(),
    end: (): void => {
      painter.stop()
      stderr.write(`${draw()}\n`)
    }
  }
}

/** What is known of a node after some checks. Unknown until as many results as it takes agreed. */
export type Tally = {
  verdict: 'unknown' | 'healthy' | 'unhealthy'
  /** When the verdict came about, in milliseconds since 1970. */
  since: number
  /** How many results in a row were as the last one. */
  streak: number
  last: Answer
  /** The last results, true where the check passed, the newest last. */
  history: boolean[]
}

const longestHistory = 30

/** Counts one more result, as Hetzner's load balancers do: `retries` in a row turn the verdict, either way. */
export const count = (before: Tally | undefined, answer: Answer, retries: number, now: number): Tally => {
  const good = passes(answer)
  const streak = before && passes(before.last) === good ? before.streak + 1 : 1
  const turned = good ? 'healthy' : 'unhealthy'
  const turns = streak >= retries && before?.verdict !== turned
  return {
    verdict: turns ? turned : (before?.verdict ?? 'unknown'),
    since: turns || !before ? now : before.since,
    streak,
    last: answer,
    history: [...(before?.history ?? []), good].slice(-longestHistory)
  }
}

/** "healthy", or with what may turn it: "healthy, 2 of 3 failed". */
export const verdictInWords = ({ verdict, streak, last }: Tally, retries: number): string => {
  const good = passes(last)
  if (verdict === (good ? 'healthy' : 'unhealthy')) return verdict
  return `${verdict}, ${streak} of ${retries} ${good ? 'passed' : 'failed'}`
}

type Look = { colour: boolean; columns: number }

// A column of the table does not jump about when a node begins to fail.
const verdictWidth = 'unhealthy, 1 of 3 passed'.length
const lastWidth = 'no connection'.length
const brief = [['connected, but no answer', 'no answer'], ['no connection'], ['connection refused', 'refused'], ['connection closed', 'closed'],
  ['connection reset', 'reset'], ['no HTTP'], ['no route']]

const inBrief = (answer: Answer): string => {
  const said = inShort(answer)
  const [start, word = start] = brief.find(([beginning = '']) => said.startsWith(beginning)) ?? []
  return word ?? said.slice(0, lastWidth)
}

const colours = { healthy: 'green', unhealthy: 'red', unknown: 'yellow' } as const

/** The table of --watch: a row a node, the strip of the last checks with the newest on the right. */
export const renderWatch = (
  tallies: Map<string, Tally | undefined>,
  { retries }: Check,
  now: number,
  { colour, columns }: Look
): string[] => {
  const paint = (style: Parameters<typeof styleText>[0], text: string): string =>
    colour ? styleText(style, text, { validateStream: false }) : text
  const heading = ['NODE', 'VERDICT', 'LAST', 'MS', 'SINCE', `LAST ${longestHistory}`]
  const rows = [...tallies].map(([node, tally]) => {
    if (!tally) return [node, 'is asked', '', '', '', '']
    const since = tally.verdict === 'unknown' ? '' : age((now - tally.since) / 1000)
    const strip = tally.history.map((good) => (good ? '·' : '✗')).join('')
    return [node, verdictInWords(tally, retries), inBrief(tally.last), milliseconds(tally.last.milliseconds), since, strip]
  })
  const [first = '', ...lines] = renderColumns([heading, ...rows], ['left', 'left', 'left', 'right', 'right'], {
    least: [0, verdictWidth, lastWidth, 4, 6]
  })
  const start = first.indexOf('VERDICT')
  const painted = (text: string, tally: Tally | undefined): string => {
    const strip = text.replaceAll('✗', () => paint('red', '✗'))
    if (!tally) return strip
    return strip.slice(0, start) + paint(colours[tally.verdict], tally.verdict) + strip.slice(start + tally.verdict.length)
  }
  const all = [...tallies.values()]
  return [paint('dim', first.slice(0, columns)), ...lines.map((line, index) => painted(line.slice(0, columns), all[index]))]
}

/** The line that is told of a verdict that turned, where there is no terminal to draw a table on. */
export const turnInWords = (node: string, { verdict, last, streak }: Tally): string =>
  `${node} is ${verdict}: ${inShort(last)}, ${streak} in a row`
