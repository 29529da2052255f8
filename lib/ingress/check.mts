import { setTimeout as sleep } from 'node:timers/promises'
import { until } from '../base/wait.mts'
import { milliseconds } from '../base/words.mts'
import type { Settings } from '../input/settings.mts'
import { get, type Answer } from '../reach/http.mts'

/** The check as the load balancers make it. */
export type Check = Settings['ingress']['health_check'] & { proxyProtocol: boolean }

export const checkOf = ({ ingress }: Settings): Check => ({
  ...ingress.health_check,
  proxyProtocol: ingress.client_address === 'proxy-protocol'
})

/** Makes the check once, of a node's address. */
export const makeCheck = (address: string, { path, host, timeout, proxyProtocol }: Check, signal?: AbortSignal): Promise<Answer> =>
  get(address, { path, proxyProtocol, timeout: timeout * 1000, ...(host === '' ? {} : { host }), ...(signal ? { signal } : {}) })

/** The check as an operator makes it by hand. */
export const checkByHand = (address: string, { path, host, timeout, proxyProtocol }: Check): string => [
  'curl -i',
  `--max-time ${timeout}`,
  ...(proxyProtocol ? ['--haproxy-protocol'] : []),
  host === '' ? "--http1.0 -H 'Host:'" : `-H 'Host: ${host}'`,
  `http://${address}${path}`
].join(' ')

/** The same for many addresses. */
export const checksByHand = (addresses: string[], check: Check): string =>
  `for address in ${addresses.join(' ')}; do\n  echo "== $address"; ${checkByHand('$address', check)}\ndone`

type ManyOptions = { signal?: AbortSignal; enough?: (answer: Answer) => boolean }

/**
 * As many checks as turn a verdict, without the waits between them: one that hangs does not hold up the others. All are
 * given up with the first answer for which `enough` is true.
 */
export const makeChecks = async (address: string, check: Check, { signal, enough = () => false }: ManyOptions = {}): Promise<Answer[]> => {
  const stop = new AbortController()
  const either = AbortSignal.any([stop.signal, ...(signal ? [signal] : [])])
  const answers = await Promise.all(Array.from({ length: check.retries }, async (_, index) => {
    await sleep(index * 100, undefined, { signal: either }).catch(() => {})
    const answer = await makeCheck(address, check, either)
    if (enough(answer)) stop.abort()
    return answer
  }))
  signal?.throwIfAborted()
  return answers
}

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
    const answers = await makeChecks(address, check, { signal, enough: (answer) => passes(answer) !== healthy })
    const [answer] = answers
    if (!answer || answers.some((one) => passes(one) !== healthy)) return 'they do not agree yet'
    seen = { seconds: before + answer.milliseconds / 1000, answer }
    return ''
  }, { seconds, signal, every: 0.1 })
  return seen
}

/** "200 in 1.3 ms (0.9 to 4.2, 3 checks)": the median, the least and the most. */
export const timesInWords = (answers: Answer[]): string => {
  const times = answers.map((answer) => answer.milliseconds).toSorted((a, b) => a - b)
  const median = times[Math.floor(times.length / 2)] ?? 0
  const kinds = [...new Set(answers.map(inShort))].join(', ')
  return `${kinds} in ${milliseconds(median)} ms (${milliseconds(times[0] ?? 0)} to ${milliseconds(times.at(-1) ?? 0)}, ${times.length} checks)`
}
