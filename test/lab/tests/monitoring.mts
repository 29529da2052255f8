// What the tests of the monitoring share: Prometheus is asked, and what an operator would have got is read.
import { bastion } from '../nodes.mts'
import { kubectl, tryKubectl, until } from './cluster.mts'

type Series = { metric: Record<string, string>; value: [number, string] }

/** The series of a query, as one of the two Prometheus has them. */
export const query = async (expr: string, pod = 'prometheus-0'): Promise<Series[]> => {
  const path = `/api/v1/namespaces/monitoring/pods/${pod}:9090/proxy/api/v1/query?query=${encodeURIComponent(expr)}`
  return (JSON.parse(await kubectl('get', '--raw', path)) as { data: { result: Series[] } }).data.result
}

/** The series of many queries, in one go: each kubectl of its own would take a quarter of a second. */
export const queryAll = async (exprs: string[], pod = 'prometheus-0'): Promise<Map<string, Series[]>> => {
  const loop = 'while read -r query; do wget -qO- "http://127.0.0.1:9090/api/v1/query?query=$query" || echo "{}"; echo; done'
  const { stdout, stderr, exitCode } = await tryKubectl(
    ['-n', 'monitoring', 'exec', '-i', pod, '--', 'sh', '-c', loop],
    { input: exprs.map((expr) => `${encodeURIComponent(expr)}\n`).join('') }
  )
  if (exitCode !== 0) throw new Error(stderr)
  const lines = stdout.split('\n').filter(Boolean)
  return new Map(exprs.map((expr, index) => {
    const { data } = JSON.parse(lines[index] ?? '{}') as { data?: { result: Series[] } }
    if (data === undefined) throw new Error(`no answer for ${expr}`)
    return [expr, data.result]
  }))
}

const receiver = 'http://10.0.0.160:8080'

const ask = async (...args: string[]): Promise<string> => {
  const { stdout, stderr, exitCode } = await bastion(['curl', '-sS', '-m', '10', ...args])
  if (exitCode !== 0) throw new Error(stderr)
  return stdout
}

type Alert = { status: string; startsAt: string; labels: Record<string, string>; annotations: Record<string, string> }

/** One alert of a message that came by webhook: when, and to whom it went. */
export type Told = Alert & { at: number; to: string }

/** The alerts of all messages since the receiver forgot, in the order of their coming. */
export const told = async (): Promise<Told[]> => {
  const messages = JSON.parse(await ask(`${receiver}/messages`)) as { at: string; path: string; status: number; body: { alerts?: Alert[] } }[]
  return messages.filter(({ path, status }) => path.startsWith('/webhook/') && status === 200)
    .flatMap(({ at, path, body }) => (body.alerts ?? []).map((alert) => ({ ...alert, at: Date.parse(at), to: path.slice('/webhook/'.length) })))
}

/** Forgets all messages so far. */
export const forget = (): Promise<string> => ask('-X', 'DELETE', `${receiver}/messages`)

/** From now on a receiver answers with errors, or no more. */
export const failing = (name: string, fails: boolean): Promise<string> => ask('-X', fails ? 'POST' : 'DELETE', `${receiver}/fail/${name}`)

const line = ({ to, status, labels: { alertname, node, instance, backend, app } }: Told): string =>
  [to, status, alertname, node ?? instance ?? backend ?? app].filter(Boolean).join(' ')

/**
 * What was told of alerts that began since `from`, a line each, once: "pages firing NodeDown k3s-worker-02". Prometheus tells the
 * end of an earlier one for 15 minutes. Where this reaches the two Alertmanagers at other times the message comes again.
 */
export const toldInWords = async (to: string, from = 0): Promise<string[]> =>
  [...new Set((await told()).filter((one) => one.to === to && Date.parse(one.startsAt) >= from).map(line))]

/**
 * Waits until a message says that an alert that began since `from` fires, or is resolved. Returns the seconds since `from` at
 * which it came, by the receiver's clock.
 */
export const arrives = async (alertname: string, status: 'firing' | 'resolved', seconds: number, from: number): Promise<number> => {
  let came: Told | undefined
  await until(`${alertname} is told as ${status}`, seconds, async () => {
    came = (await told()).find((one) => one.labels['alertname'] === alertname && one.status === status && Date.parse(one.startsAt) >= from)
    return came !== undefined
  })
  return (came!.at - from) / 1000
}
