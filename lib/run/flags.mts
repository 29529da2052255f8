import { parseArgs } from 'node:util'
import { type Fault, UsageError } from '../base/errors.mts'
import { renderColumns } from '../base/table.mts'
import { closest } from '../base/words.mts'

/** A flag of a script. Made with `flag` or `value`, which say of what type it is. */
export type Flag<Type extends boolean | string | undefined> = {
  help: string
  /** The name of its value in --help. Nothing where it takes no value. */
  value?: string
  /** One letter. */
  short?: string
  /** Its value is a file that is written: whether it can be is tried first. */
  writes?: true
  /** With it the script does this and nothing else. What runs many scripts does not have it. */
  instead?: true
  /** Only there for the type. */
  type?: Type
}

export type Flags = Record<string, Flag<boolean> | Flag<string | undefined>>

/** The given flags: true or false, or the value. */
export type Values<Some extends Flags> = { [Name in keyof Some]: Some[Name] extends Flag<infer Type> ? Type : never }

/** A flag without a value: `--watch`. */
export const flag = (help: string, short?: string): Flag<boolean> => ({ help, ...(short === undefined ? {} : { short }) })

/** A flag with a value: `--prove NODE`. */
export const value = (name: string, help: string): Flag<string | undefined> => ({ help, value: name })

/** A flag that names a file to write: `--html FILE`. */
export const output = (help: string): Flag<string | undefined> => ({ help, value: 'FILE', writes: true })

/** A flag with which its script does something else than it is there for: `--send-test`. */
export const instead = <Type extends boolean | string | undefined>(one: Flag<Type>): Flag<Type> => ({ ...one, instead: true })

/** The lines of --help for the flags. */
export const flagLines = (flags: Flags): string[] =>
  renderColumns(Object.entries(flags).map(([name, { help, value: what }]) => [`--${name}${what === undefined ? '' : ` ${what}`}`, help]))

/** What is wrong with a flag on the command line. */
export const misuse = (what: string, expected: string, remedy: string, found?: string): Fault => ({
  file: 'command line', what, expected, remedy, ...(found === undefined ? {} : { value: found })
})

// Node takes what follows for the value, whatever it is: with `--hosts --plan` nothing would be a plan any more.
const isNextFlag = ({ value, inlineValue }: { value: string | undefined; inlineValue: boolean | undefined }): boolean =>
  inlineValue !== true && value !== '-' && value?.startsWith('-') === true

/**
 * Reads the command line. Throws a UsageError with all its faults: an unknown flag, a flag that is there twice, a value
 * too many, a missing value, and words that are not flags. A mistyped --plan must never apply.
 */
export const parseFlags = <Some extends Flags>(argv: string[], flags: Some): Values<Some> => {
  const options = Object.fromEntries(Object.entries(flags).map(([name, { value: what, short }]) =>
    [name, { type: what === undefined ? 'boolean' : 'string', multiple: true, ...(short ? { short } : {}) } as const]))
  const { values, positionals, tokens } = parseArgs({ args: argv, options, strict: false, allowPositionals: true, tokens: true })
  const faults = positionals.map((word) => misuse(word, 'no arguments, only flags', 'Run with --help.'))
  for (const token of tokens) {
    if (token.kind !== 'option') continue
    const known = Object.hasOwn(options, token.name) ? options[token.name] : undefined
    if (known === undefined) {
      const near = closest(token.name, Object.keys(options))
      faults.push(misuse(token.rawName, 'a flag that this script has', near ? `Did you mean --${near}?` : 'Run with --help.'))
    } else if (known.type === 'string' && (!token.value || isNextFlag(token))) {
      faults.push(misuse(token.rawName, 'a value', `Give it one: ${token.rawName} VALUE.`))
    } else if (known.type === 'boolean' && token.value !== undefined) {
      faults.push(misuse(token.rawName, 'no value', `Write ${token.rawName} alone.`))
    }
  }
  const given = (name: string): (string | boolean)[] => (values[name] as (string | boolean)[] | undefined) ?? []
  for (const name of Object.keys(options)) {
    if (given(name).length > 1) faults.push(misuse(`--${name}`, 'it once', 'Take the others out.'))
  }
  if (faults.length > 0) throw new UsageError(faults)
  return Object.fromEntries(Object.entries(flags).map(([name, { value: what }]) =>
    [name, what === undefined ? given(name).length > 0 : given(name)[0]])) as Values<Some>
}
