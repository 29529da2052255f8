import { isAbort, messageOf } from '../../base/errors.mts'
import { printable } from '../../base/words.mts'
import type { Settings } from '../../input/settings.mts'
import type { SecretOf } from '../../secrets/holder.mts'
import type { App, Use } from '../app.mts'

type Uses = Pick<App, 'name' | 'uses'>

/** What the checks of the backends work with. `of` throws for a secret that is not known yet. */
export type Means = {
  settings: Settings
  /** The applications that are logged in for. */
  apps: Uses[]
  /** All that are enabled: PostgreSQL must have connections for all of them, also where --app names one. */
  enabled: Uses[]
  of: SecretOf
  signal: AbortSignal
}

export type UseOf<Backend extends Use['backend']> = Extract<Use, { backend: Backend }>

/** Each application's use of a backend. */
export const usesOf = <Backend extends Use['backend']>(
  apps: Uses[],
  backend: Backend
): { app: string; use: UseOf<Backend> }[] =>
  apps.flatMap(({ name, uses }) => uses.flatMap((use) => (use.backend === backend ? [{ app: name, use: use as UseOf<Backend> }] : [])))

/** Seconds that one application's visit to a backend may take. */
const mostSeconds = 10

/**
 * Does `work` within 10 seconds, and ends it with the run. Everything that `work` hands to `closing` is closed in any case,
 * also where nothing answers any more.
 */
export const inTime = async <Result,>(
  signal: AbortSignal,
  work: (closing: (close: () => void) => void) => Promise<Result>
): Promise<Result> => {
  signal.throwIfAborted()
  const closes: (() => void)[] = []
  const late = AbortSignal.timeout(mostSeconds * 1000)
  const end = AbortSignal.any([signal, late])
  const { promise: ended, reject } = Promise.withResolvers<never>()
  const stop = (): void => reject(late.aborted ? Object.assign(new Error('late'), { code: 'ETIMEDOUT' }) : signal.reason)
  end.addEventListener('abort', stop)
  const working = work((close) => void closes.push(close))
  try {
    return await Promise.race([working, ended])
  } finally {
    end.removeEventListener('abort', stop)
    working.catch(() => {}) // it fails once its connection is closed, and nobody waits for it any more
    for (const close of closes) close()
  }
}

// As pg, @redis/client, rabbitmq-client and node:http say it, each without ECONNRESET. @redis/client has its own time limit too.
const hangsUp = /^(connection terminated|socket closed|socket hang up)/i

/**
 * The error of a client in words. `who` was asked: PostgreSQL 10.0.0.10:5432. `words` knows what its protocol says; else it is
 * the connection, or the error's own message.
 */
export const wordsOf = (who: string, error: unknown, words: (message: string, code: string) => string | undefined): string => {
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  const message = printable(messageOf(error).split('\n')[0] ?? '')
  const known = {
    ECONNREFUSED: 'refuses the connection: is it started, and is this its port?',
    ETIMEDOUT: 'does not answer: is its firewall open to this bastion, and is this its port?',
    EHOSTUNREACH: 'cannot be reached: is this its address, and is it on?',
    ENETUNREACH: 'cannot be reached: is this its address, and is it on?',
    ECONNRESET: 'hangs up: is any server up behind its load balancer (HAProxy)?'
  }[hangsUp.test(message) ? 'ECONNRESET' : message === 'Connection timeout' ? 'ETIMEDOUT' : code]
  return words(message, code) ?? `${who} ${known ?? `fails: ${message}`}`
}

/**
 * Checks each application's use of a backend, and tells all that is wrong, a line each with the names of the applications that
 * it is true of. `visit` returns what it found: lines, those with "= " in front are evidence. Where a secret is not known,
 * that is the line, and nobody is visited.
 */
export const eachUse = async <Backend extends Use['backend']>(
  means: Means,
  backend: Backend,
  secrets: (use: UseOf<Backend>) => string[],
  visit: (use: UseOf<Backend>) => Promise<string[]>
): Promise<string[]> => {
  const found = await Promise.all(usesOf(means.apps, backend).map(async ({ app, use }) => {
    const unknown = secrets(use).filter((name) => !isKnown(means.of, name))
    if (unknown.length > 0) return { app, lines: [`not known yet: ${unknown.join(', ')}`] }
    return { app, lines: await visit(use) }
  }))
  const lines = [...new Set(found.flatMap(({ lines }) => lines))]
  return lines.map((line) => {
    const apps = found.filter((one) => one.lines.includes(line)).map(({ app }) => app).join(', ')
    return line.startsWith('= ') ? `= ${apps}: ${line.slice(2)}` : `${apps}: ${line}`
  })
}

const isKnown = (of: SecretOf, name: string): boolean => {
  try {
    return of(name) !== ''
  } catch (error) {
    if (isAbort(error)) throw error
    return false
  }
}
