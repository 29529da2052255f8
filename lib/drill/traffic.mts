import { request, type RequestOptions } from 'node:https'
import { setTimeout as sleep } from 'node:timers/promises'
import { createSecureContext } from 'node:tls'
import type { Sample } from './outage.mts'
import type { Kubectl } from '../reach/kubectl.mts'
import { get } from '../reach/http.mts'
import type { Settings } from '../input/settings.mts'

/** What is asked again and again, and how. */
export type Target = {
  /** "the API", "HTTP through 10.0.0.5". */
  name: string
  kind: 'api' | 'http'
  /** Asks once over a connection of its own; never throws. Why it failed, or '' where it was answered well. */
  ask: () => Promise<string>
}

/** Requests that are under way until stop() is called. */
export type Probes = {
  samples: (kind: Target['kind']) => Sample[]
  /** In words what did not answer well in the last seconds, a line a target; none where all is well. */
  troubles: (seconds: number) => string[]
  /** The targets that gave no good answer in the last seconds. */
  silent: (seconds: number) => string[]
  /** Ends once every request that was sent until now has come to its end. */
  settle: () => Promise<void>
  stop: () => void
}

/** Milliseconds from one request to the next, for each target. */
const INTERVAL = 200
/** Requests to one target that may be under way: more than its timeout lets there be. */
const MOST = 25
/** Milliseconds after which a request without an answer counts as trouble, before it has failed. */
const SLOW = 1000

const API_TIMEOUT = 2000
// The ingress passes a dead pod over after 2 seconds: an answer after that is slow, and still an answer.
const HTTP_TIMEOUT = 3000

/**
 * Asks every target every 200 ms, whether the request before was answered or not. A request that comes due while this
 * computer is too busy to send it is left out: it would say nothing about the cluster.
 */
export const startProbes = (targets: Target[], interval = INTERVAL): Probes => {
  const samples = new Map<Target, Sample[]>(targets.map((target) => [target, []]))
  const pending = new Map<Target, Set<number>>(targets.map((target) => [target, new Set()]))

  const send = async (target: Target): Promise<void> => {
    const sent = performance.now()
    pending.get(target)!.add(sent)
    const why = await target.ask()
    pending.get(target)!.delete(sent)
    samples.get(target)!.push({ target: target.name, sent, ended: performance.now(), why })
  }
  let due = performance.now()
  let timer: NodeJS.Timeout
  const tick = (): void => {
    for (const target of targets) if (pending.get(target)!.size < MOST) void send(target)
    due += interval * Math.max(1, Math.ceil((performance.now() - due) / interval))
    timer = setTimeout(tick, due - performance.now()).unref() // the one who waits for results keeps the process alive
  }
  tick()

  const trouble = (target: Target, seconds: number): string => {
    const now = performance.now()
    const recent = samples.get(target)!.filter(({ sent }) => sent >= now - seconds * 1000)
    const failed = recent.filter(({ why }) => why !== '')
    const hanging = [...pending.get(target)!].filter((sent) => sent < now - SLOW).length
    if (failed.length + hanging === 0) return recent.length > 0 ? '' : `${target.name}: no answer in the last ${seconds} s`
    const of = recent.length + hanging
    const why = failed.at(-1)?.why ?? `no answer within ${SLOW} ms`
    return `${target.name}: ${failed.length + hanging} of the last ${of} requests failed (${why})`
  }
  return {
    samples: (kind) => targets.filter((target) => target.kind === kind).flatMap((target) => samples.get(target)!),
    troubles: (seconds) => targets.map((target) => trouble(target, seconds)).filter(Boolean),
    silent: (seconds) => {
      const from = performance.now() - seconds * 1000
      const answered = (target: Target): boolean => samples.get(target)!.some(({ ended, why }) => why === '' && ended >= from)
      return targets.filter((target) => !answered(target)).map(({ name }) => name)
    },
    settle: async () => {
      const now = performance.now()
      while ([...pending.values()].some((sent) => Math.min(...sent) <= now)) await sleep(20)
    },
    stop: () => clearTimeout(timer)
  }
}

type Config = {
  clusters: { cluster: { 'certificate-authority-data': string } }[]
  users: { user: { 'client-certificate-data': string; 'client-key-data': string } }[]
}

/**
 * One object of the API through its load balancer. A read of one object, without a resource version, is never answered
 * from an API server's memory: etcd's leader confirms it with the majority. So an answer proves the load balancer, an
 * API server behind it, and etcd's quorum; it changes nothing, however often it is asked.
 */
export const apiTarget = async ({ load_balancers: { api } }: Settings, kubectl: Kubectl): Promise<Target> => {
  const config = JSON.parse(await kubectl(['config', 'view', '--raw', '--flatten', '--minify', '-o', 'json'])) as Config
  const [cluster, user] = [config.clusters[0]?.cluster, config.users[0]?.user]
  if (!cluster || !user) throw new Error("the bastion's kubeconfig has no context for the cluster: run 09_k3s_02")
  const decode = (text: string): Buffer => Buffer.from(text, 'base64')
  const secureContext = createSecureContext({
    ca: decode(cluster['certificate-authority-data']),
    cert: decode(user['client-certificate-data']),
    key: decode(user['client-key-data'])
  })
  const options = { host: api.address, port: api.port, path: '/api/v1/namespaces/default', agent: false, secureContext }
  return { name: 'the API', kind: 'api', ask: () => askTls(options, API_TIMEOUT) }
}

const askTls = (options: RequestOptions, timeout: number): Promise<string> =>
  new Promise((resolve) => {
    const asked = request(options, (answer) => {
      answer.on('error', (error) => end(inWords(error)))
      answer.on('end', () => end(answer.statusCode === 200 ? '' : `HTTP ${answer.statusCode}`))
      answer.resume()
    })
    const end = (why: string): void => {
      clearTimeout(timer)
      asked.destroy()
      resolve(why)
    }
    const timer = setTimeout(() => end(`no answer within ${timeout} ms`), timeout)
    asked.on('error', (error) => end(inWords(error)))
    asked.end()
  })

const inWords = (error: NodeJS.ErrnoException): string =>
  ({ ECONNREFUSED: 'connection refused', ECONNRESET: 'connection reset' })[error.code ?? ''] ?? error.message

/** The canary through each HTTP load balancer, as a client of the platform asks. */
export const httpTargets = ({ load_balancers: { http } }: Settings, canaryHost: string, port = 80): Target[] =>
  http.map((address) => ({
    name: `HTTP through ${address}`,
    kind: 'http',
    ask: async () => {
      const { status, error } = await get(address, { port, path: '/name', host: canaryHost, timeout: HTTP_TIMEOUT })
      return status === 200 ? '' : (error ?? `HTTP ${status}`)
    }
  }))
