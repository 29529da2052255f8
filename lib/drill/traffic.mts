import { request, type RequestOptions } from 'node:https'
import { setTimeout as sleep } from 'node:timers/promises'
import { createSecureContext } from 'node:tls'
import type { Sample } from './outage.mts'
import type { Kubectl } from '../reach/kubectl.mts'
import { get } from '../reach/http.mts'
import type { Settings } from '../input/settings.mts'

/** What the requests go to, and how it is asked. */
export type Endpoint = {
  /** "the API", "HTTP through 10.0.0.5". */
  name: string
  kind: 'api' | 'http'
  /** Asks once over a connection of its own; never throws. Why it failed, or '' where it was answered well. */
  ask: () => Promise<string>
}

/** Requests that go on until stop() is called. */
export type Traffic = {
  samples: (kind: Endpoint['kind']) => Sample[]
  /** In words which requests of the last seconds failed, a line for each endpoint; none where all is well. */
  troubles: (seconds: number) => string[]
  /** The endpoints that gave no good answer in the last seconds. */
  silent: (seconds: number) => string[]
  /** Waits until every request that was sent so far has ended. */
  settle: () => Promise<void>
  stop: () => void
}

type Pace = {
  /** Milliseconds from one request to the next, for each endpoint (default 200). */
  interval?: number
  /** Milliseconds after which a request without an answer counts as trouble, before it has failed (default 1000). */
  slow?: number
}

// Requests to one endpoint that may be open at once: more than its timeout lets there be.
const MOST = 25

// Milliseconds. The ingress passes a dead pod over after 2 seconds: an answer after that is slow, and still an answer.
const HTTP_TIMEOUT = 3000
const API_TIMEOUT = 2000

/**
 * Sends requests to every endpoint at a fixed rate, whether the one before was answered or not. A request that comes due
 * while the bastion is too busy to send it is left out: it would say nothing about the cluster.
 */
export const startTraffic = (endpoints: Endpoint[], { interval = 200, slow = 1000 }: Pace = {}): Traffic => {
  const samples = new Map<Endpoint, Sample[]>(endpoints.map((endpoint) => [endpoint, []]))
  const pending = new Map<Endpoint, Set<number>>(endpoints.map((endpoint) => [endpoint, new Set()]))

  const send = async (endpoint: Endpoint): Promise<void> => {
    const sent = performance.now()
    pending.get(endpoint)!.add(sent)
    const why = await endpoint.ask()
    pending.get(endpoint)!.delete(sent)
    samples.get(endpoint)!.push({ endpoint: endpoint.name, sent, ended: performance.now(), why })
  }
  let due = performance.now()
  let timer: NodeJS.Timeout
  const tick = (): void => {
    for (const endpoint of endpoints) if (pending.get(endpoint)!.size < MOST) void send(endpoint)
    due += interval * Math.max(1, Math.ceil((performance.now() - due) / interval))
    timer = setTimeout(tick, due - performance.now()).unref() // whoever waits for the results keeps the process alive
  }
  tick()

  const trouble = (endpoint: Endpoint, seconds: number): string => {
    const now = performance.now()
    const recent = samples.get(endpoint)!.filter(({ sent }) => sent >= now - seconds * 1000)
    const failed = recent.filter(({ why }) => why !== '')
    const hanging = [...pending.get(endpoint)!].filter((sent) => sent < now - slow).length
    if (failed.length + hanging === 0) return recent.length > 0 ? '' : `${endpoint.name}: no answer in the last ${seconds} s`
    const of = recent.length + hanging
    const why = failed.at(-1)?.why ?? `no answer within ${slow} ms`
    return `${endpoint.name}: ${failed.length + hanging} of the last ${of} requests failed (${why})`
  }
  return {
    samples: (kind) => endpoints.filter((endpoint) => endpoint.kind === kind).flatMap((endpoint) => samples.get(endpoint)!),
    troubles: (seconds) => endpoints.map((endpoint) => trouble(endpoint, seconds)).filter(Boolean),
    silent: (seconds) => {
      const from = performance.now() - seconds * 1000
      const answered = (endpoint: Endpoint): boolean => samples.get(endpoint)!.some(({ ended, why }) => why === '' && ended >= from)
      return endpoints.filter((endpoint) => !answered(endpoint)).map(({ name }) => name)
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
 * One object of the API through its load balancer. An API server never answers a read of one object, without a resource
 * version, from its memory: etcd's leader confirms it with the majority. So an answer proves the load balancer, an API
 * server behind it, and etcd's quorum. It changes nothing. `timeout` is in milliseconds.
 */
export const apiEndpoint = async (
  { load_balancers: { api } }: Settings,
  kubectl: Kubectl,
  timeout = API_TIMEOUT
): Promise<Endpoint> => {
  const config = JSON.parse(await kubectl`config view --raw --flatten --minify -o json`) as Config
  const [cluster, user] = [config.clusters[0]?.cluster, config.users[0]?.user]
  if (!cluster || !user) throw new Error("the bastion's kubeconfig has no context for the cluster: run 09_k3s_02")
  const decode = (text: string): Buffer => Buffer.from(text, 'base64')
  const secureContext = createSecureContext({
    ca: decode(cluster['certificate-authority-data']),
    cert: decode(user['client-certificate-data']),
    key: decode(user['client-key-data'])
  })
  const options = { host: api.address, port: api.port, path: '/api/v1/namespaces/default', agent: false, secureContext }
  return { name: 'the API', kind: 'api', ask: () => askTls(options, timeout) }
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

/** The canary through each HTTP load balancer, as a user of the platform asks. */
export const httpEndpoints = ({ load_balancers: { http } }: Settings, host: string, { port = 80, path = '/name' } = {}): Endpoint[] =>
  http.map((address) => ({
    name: `HTTP through ${address}`,
    kind: 'http',
    ask: async () => {
      const { status, error } = await get(address, { port, path, host, timeout: HTTP_TIMEOUT })
      return status === 200 ? '' : (error ?? `HTTP ${status}`)
    }
  }))
