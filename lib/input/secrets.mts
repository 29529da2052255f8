import { randomBytes, randomUUID } from 'node:crypto'
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { password } from '@inquirer/prompts'
import { home } from '../base/home.mts'
import { isMissing, UsageError } from '../base/errors.mts'

const known = new Set<string>()

/** A value that must never be shown: it prints as [secret], and `redact` removes it from any text. */
export class Secret {
  readonly #value: string
  constructor(value: string) {
    // Every text holds the empty one: all that is shown would be struck out.
    if (value === '') throw new Error('a secret is empty')
    this.#value = value
    known.add(value)
  }
  /** A secret that is unknown here. A runbook shows its name instead, such as <AGENT_TOKEN>. */
  static named(name: string): Secret {
    const secret = new Secret(name)
    known.delete(name)
    return secret
  }
  /** The value itself, for a script's stdin or a file with mode 0600. */
  reveal(): string {
    return this.#value
  }
  toString(): string {
    return '[secret]'
  }
  toJSON(): string {
    return '[secret]'
  }
  [inspect.custom](): string {
    return '[secret]'
  }
}

/** The text without the secrets of this process, in base64 form too. Everything that is shown or logged passes here. */
export const redact = (text: string): string => {
  let clean = text
  for (const value of known) {
    clean = clean.replaceAll(value, '[secret]').replaceAll(Buffer.from(value).toString('base64'), '[secret]')
  }
  return clean
}

const folder = home('secrets')

/**
 * A secret from somebody else: from the file that a flag names, else the environment variable, else a masked prompt.
 * Without a terminal it throws a UsageError that names the variable.
 */
export const givenSecret = async (
  what: string,
  { flag, file, variable }: { flag: string; file?: string | undefined; variable: string }
): Promise<Secret> => {
  if (file !== undefined) {
    const text = await readFile(file, 'utf8').catch((error: unknown) => {
      throw usage(file, String(error), `the ${what} in a file that can be read`, `Mend ${flag}.`)
    })
    if (text.trim() === '') throw usage(file, 'is empty', `the ${what}`, `Write it there, or leave ${flag} out.`)
    return new Secret(text.trim())
  }
  const value = process.env[variable]?.trim()
  if (value) return new Secret(value)
  if (!process.stdin.isTTY || !process.stderr.isTTY) {
    throw usage(variable, 'is not set', `the ${what}`, `Set ${variable}, or name a file that holds it with ${flag}.`)
  }
  return typedSecret(what)
}

/** Asks for a secret at the terminal. No key shows it: terminals are recorded, and others look at them. */
export const typedSecret = async (what: string): Promise<Secret> => {
  const validate = (text: string): true | string => text.trim() !== '' || 'Type it, or press ctrl-C.'
  const answer = await password({ message: `${what}:`, mask: true, toggleMask: false, validate }, { output: process.stderr })
  return new Secret(answer.trim())
}

const usage = (file: string, what: string, expected: string, remedy: string): UsageError =>
  new UsageError([{ file, what, expected, remedy }])

/** A secret that this bastion keeps in ~/.keybuzz/secrets, or nothing. Throws a UsageError where its file is empty. */
export const keptSecret = async (name: string): Promise<Secret | undefined> => {
  const file = join(folder, name)
  try {
    const text = (await readFile(file, 'utf8')).trim()
    if (text === '') throw usage(file, 'is empty', 'a secret', 'Bring it back from a backup. Where it was never used, remove the file.')
    return new Secret(text)
  } catch (error) {
    if (isMissing(error)) return undefined
    throw error
  }
}

/** Keeps a secret on this bastion, with mode 0600. */
export const keepSecret = async (name: string, secret: Secret): Promise<void> => {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const path = join(folder, name)
  const part = `${path}.${randomUUID()}`
  await writeFile(part, `${secret.reveal()}\n`, { mode: 0o600 })
  await rename(part, path)
}

/** A new random secret of 64 hexadecimal digits: K3s misreads tokens with other signs (k3s-io/k3s#7313). */
export const newSecret = (): Secret => new Secret(randomBytes(32).toString('hex'))
