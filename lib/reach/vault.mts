import * as http from 'node:http'
import * as https from 'node:https'
import type { Secret } from '../input/secrets.mts'
import { messageOf } from '../base/errors.mts'

/** What Vault keeps at a path. */
export type Data = Record<string, unknown>

/** What Vault answers. `lease_id` is '' where nothing is lent. */
export type Answer = { data: Data; lease_id: string; auth?: Data }

/** Vault's HTTP API. Paths are those of its CLI, such as auth/k3s/config. */
export type Vault = {
  /** What is at a path. Nothing where there is nothing. */
  read: (path: string) => Promise<Answer | undefined>
  /** Sends data to a path. */
  write: (path: string, data?: object) => Promise<Answer>
  /** Deletes what is at a path. Also where there is nothing. */
  remove: (path: string) => Promise<void>
  /** The same Vault with another token. */
  as: (token: Secret) => Vault
  /** Whether Vault agrees on the time, in words: '' where it does. Throws a VaultAway for one that is sealed. It needs no token. */
  state: () => Promise<string>
}

type Place = {
  url: string
  /** The certificates that Vault's own may be signed with, as PEM. Default: those of the system. */
  ca?: string | undefined
  /** Nothing for a run that knows none: then only `state` answers. */
  token?: Secret | undefined
  signal: AbortSignal
  /** Milliseconds that an answer may take (default 20,000). Making a user of a database takes the longest. */
  patience?: number
}

/** Vault answers with an error. The message says which request, and what Vault says. */
export class VaultError extends Error {
  override name = 'VaultError'
  readonly status: number
  constructor(message: string, status: number) {
    super(message)
    this.status = status
  }
}

/** Vault can be asked nothing. `away` says why, in a few words. */
export class VaultAway extends Error {
  override name = 'VaultAway'
  readonly away: string
  constructor(message: string, away: string) {
    super(message)
    this.away = away
  }
}

// "2 errors occurred:", and a line with a star for each.
const causesIn = (text: string): string[] => {
  const causes = [...text.matchAll(/^\s*\* (.+)$/gm)].map(([, cause = '']) => cause)
  return causes.length > 0 ? causes : [text.trim()]
}

/** Seconds that Vault's clock may differ. It says until when a user of PostgreSQL is valid, by its own clock. */
const mostSkew = 30

/** Milliseconds for which it is not asked again after it was silent. */
const pause = 30_000

/**
 * Makes a client of Vault. Its functions throw a VaultError for what Vault refuses, and a VaultAway where nothing can be
 * asked of it. API: developer.hashicorp.com/vault/api-docs.
 */
export const createVault = ({ url, ca, token, signal, patience = 20_000 }: Place): Vault => {
  const { request: ask, Agent } = url.startsWith('https:') ? https : http
  // Never through the proxy of downloads, which would see the token.
  const agent = new Agent({ proxyEnv: {} })
  const send = (method: string, path: string, data?: object): Promise<{ status: number; text: string }> => new Promise((resolve, reject) => {
    const headers = { 'X-Vault-Request': 'true', ...(token ? { 'X-Vault-Token': token.reveal() } : {}) }
    const late = AbortSignal.timeout(patience)
    const sent = ask(`${url}/v1/${path}`, { method, headers, agent, signal: AbortSignal.any([signal, late]), ...(ca ? { ca } : {}) }, (answer) => {
      const parts: Buffer[] = []
      answer.on('data', (part: Buffer) => parts.push(part))
      answer.on('end', () => resolve({ status: answer.statusCode ?? 0, text: Buffer.concat(parts).toString() }))
      answer.on('error', reject)
    })
    sent.on('error', (error) => {
      if (signal.aborted) return reject(error)
      const words = `Vault at ${url}: ${late.aborted ? `no answer within ${patience / 1000} s` : inWords(error)}`
      // It may have waited for the database.
      reject(late.aborted && path !== health ? new Error(words) : new VaultAway(words, 'Vault does not answer'))
    })
    sent.end(data === undefined ? undefined : JSON.stringify(data))
  })

  let silent: { until: number; error: unknown } | undefined

  const request = async (method: string, path: string, data?: object): Promise<Answer | undefined> => {
    if (token === undefined) throw new Error('no token of Vault is known')
    if (silent && Date.now() < silent.until) throw silent.error
    const { status, text } = await send(method, path, data)
    if (status >= 300 && status < 400) throw new VaultAway(`Vault at ${url} is a standby that does not forward: open port 8201 between the Vaults, or name the active one in backends.vault.address`, 'Vault is not ready')
    if (status === 404 && method !== 'POST') return undefined
    const { errors = [], ...answer } = text === '' ? nothing : parsed(text, url)
    if (status < 400) return answer
    const causes = errors.flatMap(causesIn)
    if (status === 503) throw notReady(causes.join('; '))
    if (status === 403 && causes.includes('invalid token')) throw new VaultAway('the token is not valid, or has expired: vault token lookup', 'the token of Vault is not valid')
    throw new VaultError(`Vault refuses ${method} ${path} (${status}): ${causes.join('; ') || 'without a word'}`, status)
  }

  return {
    read: (path) => request('GET', path),
    write: async (path, data = {}) => (await request('POST', path, data)) ?? nothing,
    remove: async (path) => void (await request('DELETE', path)),
    as: (other) => createVault({ url, ca, token: other, signal, patience }),
    state: async () => {
      const { status, text } = await send('GET', health).catch((error: unknown) => {
        silent = { until: Date.now() + pause, error } // else each of what follows would wait as long
        throw error
      })
      if (status !== 200) throw notReady(states[status] ?? `status ${status}: ${text.slice(0, 200)}`)
      const { server_time_utc: seconds } = JSON.parse(text) as { server_time_utc: number }
      const ahead = Math.round(seconds - Date.now() / 1000)
      return Math.abs(ahead) <= mostSkew ? '' : `its clock is ${Math.abs(ahead)} s ${ahead > 0 ? 'ahead of' : 'behind'} this bastion's: timedatectl on both`
    }
  }
}

const health = 'sys/health?standbyok=true&perfstandbyok=true'

const notReady = (words: string): VaultAway => new VaultAway(words, 'Vault is not ready')

const states: Record<number, string> = { 501: 'is not initialized: vault operator init', 503: 'is sealed: vault operator unseal' }

const nothing: Answer & { errors?: string[] } = { data: {}, lease_id: '' }

const parsed = (text: string, url: string): typeof nothing => {
  try {
    return JSON.parse(text) as typeof nothing
  } catch {
    throw new Error(`Vault at ${url}: no JSON, but ${JSON.stringify(text.slice(0, 100))}`)
  }
}

const unknownCa = 'its certificate is signed by an unknown authority. Is the file of backends.vault.ca that of the CA?'

const words: Record<string, string> = {
  ECONNREFUSED: 'connection refused. Does it run?',
  EHOSTUNREACH: 'no route to the address',
  ECONNRESET: 'connection reset without an answer',
  SELF_SIGNED_CERT_IN_CHAIN: unknownCa,
  DEPTH_ZERO_SELF_SIGNED_CERT: unknownCa,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: unknownCa,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: unknownCa,
  CERT_SIGNATURE_FAILURE: unknownCa,
  CERT_HAS_EXPIRED: 'its certificate has expired',
  CERT_NOT_YET_VALID: 'its certificate is not valid yet. Is the clock right?',
  ERR_SSL_WRONG_VERSION_NUMBER: 'it speaks plain HTTP: set backends.vault.tls to false',
  EPROTO: 'it speaks no TLS: set backends.vault.tls to false'
}

const inWords = (error: NodeJS.ErrnoException): string => words[error.code ?? ''] ?? messageOf(error)
