// Requests that are sent from the bastion while a test or a measurement takes something away.
import { setTimeout as sleep } from 'node:timers/promises'
import { until } from '../../../lib/base/wait.mts'
import type { Tally } from '../../../lib/drill/outage.mts'
import { bastion, bastionStart } from '../nodes.mts'

/** What requests to the API and to the canary met; `failedAt` is when those to the canary were sent, in milliseconds. */
export type Traffic = { api: Tally; http: Tally; failedAt: number[] }

const log = '/tmp/traffic.log'

/** Has requests sent from the bastion, each target every `interval` ms, while `meanwhile` runs: to a canary, or to an application. */
export const underTraffic = async (
  interval: number,
  meanwhile: () => Promise<unknown>,
  { signal = new AbortController().signal, app }: { signal?: AbortSignal; app?: { host: string; path: string } } = {}
): Promise<Traffic> => {
  signal.throwIfAborted()
  const said = async (): Promise<string> => (await bastion(['cat', log])).stdout
  await bastion(['rm', '-f', log])
  const program = ['node', 'test/lab/traffic.mts', String(interval), ...(app ? [app.host, app.path] : [])]
  const running = await bastionStart(['bash', '-c', 'exec "$@" 2> "$0"', log, ...program])
  let ended = false
  const done = running.done.finally(() => (ended = true))
  done.catch(() => {}) // told where it is awaited
  try {
    const lack = await until(async () => (ended || /^begun$/m.test(await said()) ? '' : 'not yet'), { seconds: 120, signal })
    if (ended || lack !== '') throw new Error(`the traffic did not begin:\n${await said()}`)
    await sleep(3000, undefined, { signal })
    await meanwhile()
  } finally {
    await running.kill('TERM').catch(() => {})
    await done.catch(() => {})
  }
  const { stdout } = await done
  if (!stdout.startsWith('{')) throw new Error(`the traffic ended without a result:\n${await said()}`)
  return JSON.parse(stdout) as Traffic
}

/** The time within which the requests to the canary were sent that failed, in seconds; 0 where none did. */
export const failingFor = ({ failedAt }: Pick<Traffic, 'failedAt'>): number =>
  ((failedAt.at(-1) ?? 0) - (failedAt[0] ?? 0)) / 1000
