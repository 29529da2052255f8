import { setTimeout as sleep } from 'node:timers/promises'
import { styleText } from 'node:util'
import { until } from '../base/wait.mts'
import { renderColumns } from '../base/table.mts'
import { age, milliseconds } from '../base/words.mts'
import { get, type Answer } from '../reach/http.mts'
import type { Settings } from '../input/settings.mts'

/** The check as the load balancers make it. */
export type Check = Settings['ingress']['health_check'] & { proxyProtocol: boolean }

export const checkOf = ({ ingress }: Settings): Check => ({
  ...ingress.health_check,
  proxyProtocol: ingress.client_address === 'proxy-protocol'
})

/** Makes the check once, of a node's address. */
export const probe = (address: string, { path, host, timeout, proxyProtocol }: Check, signal?: AbortSignal): Promise<Answer> =>
  get(address, { path, proxyProtocol, timeout: timeout * 1000, ...(host === '' ? {} : { host }), ...(signal ? { signal } : {}) })

/**
 * As many checks as turn a verdict, without the waits between them: one that hangs does not hold up the others. All are
 * given up with the first answer for which `enough` is true.
 */
export const probes = async (address: string, check: Check, { signal, enough = () => false }: ProbesOptions = {}): Promise<Answer[]> => {
  const stop = new AbortController()
  const either = AbortSignal.any([stop.signal, ...(signal ? [signal] : [])])
  const answers = await Promise.all(Array.from({ length: check.retries }, async (_, index) => {
    await sleep(index * 100, undefined, { signal: either }).catch(() => {})
    const answer = await probe(address, check, either)
    if (enough(answer)) stop.abort()
    return answer
  }))
  signal?.throwIfAborted()
  return answers
}

type ProbesOptions = { signal?: AbortSignal; enough?: (answer: Answer) => boolean }

/** Only 200 counts. */
export const passes = ({ status }: Answer): boolean => status === 200

/** "200", "503", "connection refused". */
export const inShort = ({ status, error }: Answer): string => error ?? String(status)

/** "GET /healthz on port 80, with PROXY protocol, no Host header, every 15 s". */
export const checkInWords = ({ path, host, interval, proxyProtocol }: Check): string => [
  `GET ${path} on port 80`,
  ...(proxyProtocol ? ['with PROXY protocol'] : []),
  host === '' ? 'no Host header' : `Host: ${host}`,
  `every ${interval} s`
].join(', ')

/** Seconds within which the load balancers have let go of a node that fails, and taken back one that is well. */
export const windowOf = ({ interval, timeout, retries }: Check): { out: number; back: number } => ({
  out: retries * (interval + timeout),
  back: retries * interval
})

export type Seen = { seconds: number; answer: Answer }

/** Makes the check until as many in a row as turn a verdict agree; says when, or nothing where they did not in time. */
export const untilVerdict = async (
  address: string,
  check: Check,
  healthy: boolean,
  { seconds, signal }: { seconds: number; signal: AbortSignal }
): Promise<Seen | undefined> => {
  const started = performance.now()
  let seen: Seen | undefined
  await until(async () => {
    const before = (performance.now() - started) / 1000
    const answers = await probes(address, check, { signal, enough: (answer) => passes(answer) !== healthy })
    const [answer] = answers
    if (!answer || answers.some((one) => passes(one) !== healthy)) return 'they do not agree yet'
    seen = { seconds: before + answer.milliseconds / 1000, answer }
    return ''
  }, { seconds, signal, every: 0.1 })
  return seen
}

/** "200 in 1.3 ms (0.9 to 4.2, 3 probes)": the median, the least and the most. */
export const timesInWords = (answers: Answer[]): string => {
  const times = answers.map((answer) => answer.milliseconds).toSorted((a, b) => a - b)
  const median = times[Math.floor(times.length / 2)] ?? 0
  const kinds = [...new Set(answers.map(inShort))].join(', ')
  return `${kinds} in ${milliseconds(median)} ms (${milliseconds(times[0] ?? 0)} to ${milliseconds(times.at(-1) ?? 0)}, ${times.length} probes)`
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
