/** One thing that is wrong with what the operator wrote: where, what was found, what was expected, what to do. */
export type Fault = {
  /** The file as the operator named it, or the flag (`--hosts`). */
  file: string
  line?: number
  /** The column, key or argument: `IP_PRIVEE`, `network.mtu`. */
  what: string
  /** What was found there. Left out when nothing was. */
  value?: string
  /** Completes "expected ...". */
  expected: string
  /** A sentence: what to do about it. */
  remedy: string
}

const LONGEST_VALUE = 80

/** Invisible and direction-changing characters, and every blank but the plain space. */
const UNSEEN = /[\p{Cc}\p{Cf}\p{Co}\p{Cn}\p{Zl}\p{Zp}]|(?! )\p{Zs}/gu

const codePoint = (character: string) => `\\u${character.codePointAt(0)?.toString(16).padStart(4, '0')}`

const visible = (text: string) => text.replace(UNSEEN, codePoint)

/** The user and password of a URL. */
const CREDENTIALS = /(?<=:\/\/)[^/\s]*@/g

/**
 * The value in double quotes, for a message: literal quotes and control characters escaped, invisible characters
 * shown as `\u00a0`, credentials in a URL as `***`, at most 80 characters.
 */
export const quoted = (value: string): string => {
  const safe = value.replace(CREDENTIALS, '***@')
  const shown = safe.length > LONGEST_VALUE ? `${safe.slice(0, LONGEST_VALUE)}…` : safe
  return visible(JSON.stringify(shown))
}

/** One line: `servers.tsv:7 IP_PRIVEE "10.0.0.999": expected an IPv4 address. Fix the column.` */
export const renderFault = ({ file, line, what, value, expected, remedy }: Fault): string => {
  const place = line === undefined ? file : `${file}:${line}`
  const found = value === undefined ? '' : ` ${quoted(value)}`
  return `${place} ${visible(what)}${found}: expected ${expected}. ${remedy}`
}

/**
 * What the operator wrote (inventory, settings, flags) cannot be used. Holds all faults, and its message has one line for
 * each. A script ends with `exitCode`. Nothing was changed before.
 */
export class UsageError extends Error {
  readonly faults: Fault[]
  readonly exitCode = 64

  constructor(faults: Fault[]) {
    super(faults.map(renderFault).join('\n'))
    this.name = 'UsageError'
    this.faults = faults
  }
}

/** The message of an error. Anything else that was thrown, as text. */
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

/** True where the run was interrupted, and nothing failed. */
export const isAbort = (error: unknown): boolean => error instanceof Error && error.name === 'AbortError'

/**
 * Why nothing is known where an error says that something many steps ask is away, such as "the API does not answer": its `away`.
 * That is told once, and what else asks it is skipped. Nothing for other errors.
 */
export const awayOf = (error: unknown): string | undefined =>
  error instanceof Error && 'away' in error && typeof error.away === 'string' ? error.away : undefined

/** True where a file or folder is not there (ENOENT). */
export const isMissing = (error: unknown): boolean => error instanceof Error && 'code' in error && error.code === 'ENOENT'
