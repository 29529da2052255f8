import { readFile, stat } from 'node:fs/promises'
import { parseEnv } from 'node:util'
import { messageOf, UsageError, type Fault } from '../base/errors.mts'
import { closest } from '../base/words.mts'
import { Secret } from '../input/secrets.mts'
import { variableOf } from './holder.mts'

/** What a secret must be. It completes "expected ...". The bastion keeps it as the line of a file, and blanks would get lost. */
export const oneLine = 'one line that is not empty, without blanks at its ends'

/** True for a value that cannot be a secret. */
export const isOdd = (value: string): boolean => value === '' || value.trim() !== value || /\p{Cc}/u.test(value)

/**
 * The secrets in the file of --secrets, by their names. Its lines are NAME=value, with the names of the environment
 * variables. Throws one UsageError with all faults: a file that others can read, a line that is something else, a name that
 * is not one of `names`, a value that would be cut. No value is ever shown.
 */
export const readSecretsFile = async (file: string, names: string[]): Promise<Map<string, Secret>> => {
  await refuseOpen(file)
  const known = new Map(names.map((name) => [variableOf(name), name]))
  const found = new Map<string, Secret>()
  const faults: Fault[] = []
  for (const [index, text] of (await readFile(file, 'utf8')).split('\n').entries()) {
    if (/^\s*(#|$)/.test(text)) continue
    const fault = (what: string, expected: string, remedy: string): void =>
      void faults.push({ file, line: index + 1, what, expected, remedy })
    const [variable = '', value = ''] = Object.entries(parseEnv(text))[0] ?? []
    const name = known.get(variable)
    // What stands before the = in another line may be a part of a secret.
    if (!/^[A-Z][A-Z0-9_]*$/.test(variable)) fault('is something else', 'NAME=value, with the name in capitals', 'Correct the line.')
    else if (name === undefined) fault(variable, 'a secret that is asked for', remedyFor(variable, [...known.keys()]))
    else if (found.has(name)) fault(variable, 'each name once', 'Delete one of the two.')
    else if (isCut(text, value)) fault(variable, 'a value that is read as it stands there', "Put it into '...': elsewhere # begins a comment.")
    else if (isOdd(value)) fault(variable, oneLine, 'Correct it.')
    else found.set(name, new Secret(value))
  }
  if (faults.length > 0) throw new UsageError(faults)
  return found
}

// A plan and an apply read it each, so it cannot be a pipe.
const refuseOpen = async (file: string): Promise<void> => {
  const fault = (what: string, expected: string, remedy: string): UsageError =>
    new UsageError([{ file, what, expected, remedy }])
  const found = await stat(file).catch((error: unknown) => {
    throw fault(messageOf(error), 'the secrets in a file that can be read', 'Mend --secrets.')
  })
  if (!found.isFile()) throw fault('is no file', 'one that can be read twice', 'Write the secrets into a file.')
  const mode = found.mode & 0o777
  if ((mode & 0o077) !== 0) throw fault(`has the mode 0${mode.toString(8)}`, 'a file that only its owner can read', `Run: chmod 600 ${file}`)
}

const remedyFor = (variable: string, known: string[]): string => {
  const near = closest(variable, known)
  return near === undefined ? 'Delete the line, or enable what it is for.' : `Did you mean ${near}?`
}

/** True where parseEnv has not taken all that stands behind the =, apart from one pair of quotes, or where a quote has no end. */
const isCut = (text: string, value: string): boolean => {
  const written = text.slice(text.indexOf('=') + 1).trim()
  if (written === value) return /^["'`]/.test(value)
  return ![`'${value}'`, `"${value}"`, `\`${value}\``].includes(written)
}
