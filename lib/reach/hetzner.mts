import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { duration } from '../base/words.mts'
import type { Secret } from '../input/secrets.mts'
import {
  actionSchema, balancerSchema, balancersOf, errorSchema, pageSchema, serverSchema, type LoadBalancer, type RawServer
} from './hetzner-schema.mts'

/** A server of the project, by the addresses that it has in its networks. */
export type Server = { id: number; name: string; status: string; addresses: string[] }

export type Hetzner = {
  /** All load balancers of the token's project. */
  loadBalancers: () => Promise<LoadBalancer[]>
  /** The server that has a private address. Throws where there is none, or more than one. */
  serverAt: (address: string) => Promise<Server>
  /** Cuts the power of a server, as pulling the plug does. Done when Hetzner says that it is off. */
  powerOff: (server: Server) => Promise<void>
  /** Switches a server on. */
  powerOn: (server: Server) => Promise<void>
}

export type HetznerOptions = {
  /** For tests. */
  url?: string
  /** Seconds for a request with all its retries, and for an action to end (default 60). */
  deadline?: number
  /** Milliseconds before the first retry (default 500); each further one waits twice as long. */
  backoff?: number
  signal?: AbortSignal
  /** Called with what it waits for. */
  say?: (line: string) => void
}

/** Hetzner's answer is an error or unusable. The message says what to do. */
export class HetznerError extends Error {
  override name = 'HetznerError'
  readonly status: number
  constructor(message: string, status: number) {
    super(message)
    this.status = status
  }
}

const read = <Value,>(schema: z.ZodType<Value>, value: unknown, path: string): Value => {
  const { success, data, error } = schema.safeParse(value)
  if (success) return data
  const [issue] = error.issues
  throw new HetznerError(`Hetzner's answer to ${path} is not as expected: ${issue?.path.join('.')}: ${issue?.message}`, 200)
}

/** A client of the Hetzner Cloud API. It reads, and switches servers off and on; nothing else. */
export const createHetzner = (token: Secret, options: HetznerOptions = {}): Hetzner => {
  const { url = 'https://api.hetzner.cloud/v1', deadline = 60, backoff = 500, signal, say = () => {} } = options
  if (!/^[\x21-\x7e]+$/.test(token.reveal())) {
    throw new HetznerError('The Hetzner token has characters that no token has: copy it again', 0)
  }

  const once = (method: string, path: string): Promise<Response> =>
    fetch(`${url}${path}`, {
      method,
      headers: { authorization: `Bearer ${token.reveal()}`, accept: 'application/json' },
      redirect: 'manual', // the token is for this one address
      signal: AbortSignal.any([AbortSignal.timeout(15_000), ...(signal ? [signal] : [])])
    })

  // All requests here can be repeated, the power actions too.
  const ask = async (method: 'GET' | 'POST', path: string): Promise<unknown> => {
    const end = Date.now() + deadline * 1000
    for (let pause = backoff; ; pause = Math.min(pause * 2, 10_000)) {
      let failure: HetznerError
      let wait = pause * (0.5 + Math.random() / 2)
      try {
        const response = await once(method, path)
        const body = await response.text()
        if (response.ok) return parse(body, path)
        failure = refusal(response.status, body, path)
        if (!isPassing(response.status)) throw failure
        wait = Math.max(wait, askedToWait(response.headers))
      } catch (error) {
        signal?.throwIfAborted()
        if (error instanceof HetznerError) throw error
        failure = new HetznerError(`Hetzner's API does not answer (${method} ${path}): ${reasonOf(error)}`, 0)
      }
      if (Date.now() + wait > end) {
        const late = wait > pause ? `; it asks to wait ${Math.ceil(wait / 1000)} s` : `; given up after ${deadline} s`
        throw new HetznerError(`${failure.message}${late}`, failure.status)
      }
      say(`${failure.message}; asked again in ${duration(wait / 1000)}`)
      await sleep(wait, undefined, signal ? { signal } : {})
    }
  }

  const list = async <Item,>(name: string, schema: z.ZodType<Item>): Promise<Item[]> => {
    const all: Item[] = []
    for (let page = 1; ;) {
      const path = `/${name}?page=${page}&per_page=50`
      const answer = await ask('GET', path)
      all.push(...(read(z.object({ [name]: z.array(schema) }), answer, path)[name] ?? []))
      const next = read(pageSchema, answer, path).meta.pagination.next_page
      if (next === null) return all
      if (next <= page) throw new HetznerError(`Hetzner's answer to ${path} names page ${next} as the next one`, 200)
      page = next
    }
  }
  const listServers = (): Promise<RawServer[]> => list('servers', serverSchema)

  const power = async ({ id, name }: Server, command: 'poweroff' | 'poweron'): Promise<void> => {
    const end = Date.now() + deadline * 1000
    let path = `/servers/${id}/actions/${command}`
    for (let method: 'GET' | 'POST' = 'POST'; ; method = 'GET') {
      const { action } = read(actionSchema, await ask(method, path), path)
      if (action.status === 'success') return
      if (action.status === 'error') {
        throw new HetznerError(`Hetzner could not ${command} ${name}: ${action.error?.message ?? 'it does not say why'}`, 200)
      }
      if (Date.now() > end) throw new HetznerError(`${command} of ${name} has not ended after ${deadline} s`, 200)
      path = `/actions/${action.id}`
      await sleep(Math.min(backoff * 2, 1000), undefined, signal ? { signal } : {})
    }
  }

  return {
    loadBalancers: async () => {
      const [balancers, servers] = await Promise.all([list('load_balancers', balancerSchema), listServers()])
      return balancersOf(balancers, servers)
    },
    serverAt: async (address) => {
      const servers = (await listServers()).filter(({ private_net: nets }) => nets.some(({ ip }) => ip === address))
      const [server, other] = servers
      if (!server) {
        throw new HetznerError(
          `no server of the token's project has the private address ${address}; is the token of another project?`, 404
        )
      }
      if (other) throw new HetznerError(`${server.name} and ${other.name} both have the private address ${address}`, 409)
      return { id: server.id, name: server.name, status: server.status, addresses: server.private_net.map(({ ip }) => ip) }
    },
    powerOff: (server) => power(server, 'poweroff'),
    powerOn: (server) => power(server, 'poweron')
  }
}

const parse = (body: string, path: string): unknown => {
  try {
    return JSON.parse(body)
  } catch {
    throw new HetznerError(`Hetzner's answer to ${path} is no JSON: ${JSON.stringify(body.slice(0, 60))}`, 200)
  }
}

// 409 and 423: another action runs on the server.
const isPassing = (status: number): boolean => [409, 423, 429].includes(status) || status >= 500

// Retry-After is in seconds. RateLimit-Reset is the time of the full reset, in seconds since 1970.
const askedToWait = (headers: Headers): number => {
  const seconds = Number(headers.get('retry-after') ?? Number.NaN)
  if (seconds >= 0) return seconds * 1000
  const reset = Number(headers.get('ratelimit-reset') ?? Number.NaN)
  const left = Number(headers.get('ratelimit-remaining') ?? 0)
  return reset > 0 && left === 0 ? Math.max(0, reset * 1000 - Date.now()) : 0
}

const remedies: Record<string, string> = {
  401: 'It is mistyped, deleted or of another account: make one in the Cloud Console, Security, API tokens; Read is enough to compare',
  token_readonly: 'This token may only read: to switch servers off and on it takes one with Read & Write',
  403: 'It lacks the permission, or the project is locked',
  429: 'The project has used up its requests for now'
}

const refusal = (status: number, body: string, path: string): HetznerError => {
  let said = { code: '', message: '' }
  try {
    said = read(errorSchema, JSON.parse(body), path).error
  } catch {
    // A proxy's page says nothing about the API.
  }
  const remedy = remedies[said.code] ?? remedies[status]
  const what = status === 401 ? 'Hetzner does not know the token' : `Hetzner refuses ${path}`
  const why = [status, said.code].filter(Boolean).join(' ') + (said.message && `: ${said.message}`)
  return new HetznerError(`${what} (${why})${remedy === undefined ? '' : `. ${remedy}`}`, status)
}

const reasonOf = (error: unknown): string => {
  if (!(error instanceof Error)) return String(error)
  if (error.name === 'TimeoutError') return 'no answer within 15 s'
  const { cause } = error
  return cause instanceof Error ? (cause.message || ('code' in cause ? String(cause.code) : cause.name)) : error.message
}
