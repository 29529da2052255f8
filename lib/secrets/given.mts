import { UsageError } from '../base/errors.mts'
import { keepSecret, keptSecret, Secret, typedSecret } from '../input/secrets.mts'
import { hasTerminal } from '../run/confirm.mts'
import type { Run } from '../run/run.mts'
import { Refusal, type ClusterStep } from '../run/step.mts'
import { isOdd, oneLine, readSecretsFile } from './file.mts'
import { fileOf, type Holder, type NamedSecret, pathOf, type Secrets, variableOf } from './holder.mts'

type Source = Pick<Run, 'mode' | 'settings' | 'note'>

/**
 * The secrets of these holders, and `more` that are given. A given one comes from the file of --secrets, else from its
 * environment variable, else from what the bastion keeps, else an apply asks for it at the terminal. A plan and a validation
 * ask nothing: `knowsGiven` says what is missing. `also` are names of further secrets that may be in the file, such as those
 * of applications that are left out this time. In a runbook all are placeholders. Throws a UsageError for a value that cannot
 * be one, and where an apply has no terminal, one with all that are missing.
 */
export const knownSecrets = async (
  run: Source,
  { holders, more = [], file, also = [] }: { holders: Pick<Holder, 'given' | 'made'>[]; more?: NamedSecret[]; file: string | undefined; also?: string[] }
): Promise<Secrets> => {
  const given = [...new Map([...holders.flatMap((holder) => holder.given), ...more].map((one) => [one.name, one])).values()]
  const made = holders.flatMap((holder) => holder.made)
  if (run.mode === 'runbook') return placeholders(run, given, made)
  const written = file === undefined ? undefined : await readSecretsFile(file, [...given.map(({ name }) => name), ...also])
  const known: Secrets['known'] = new Map()
  for (const { name } of given) {
    const secret = written?.get(name) ?? inEnvironment(name) ?? await keptSecret(fileOf(run.settings, name))
    if (secret) known.set(name, secret)
  }
  for (const { name } of made) {
    const secret = await keptSecret(fileOf(run.settings, name))
    if (secret) known.set(name, secret)
  }
  const missing = given.filter(({ name }) => !known.has(name))
  if (run.mode !== 'apply' || missing.length === 0) return { given, known }
  if (!hasTerminal()) {
    throw new UsageError(missing.map(({ name, what }) => ({
      file: variableOf(name), what: 'is not set', expected: `the ${what}`, remedy: 'Set it, or write it into the file of --secrets.'
    })))
  }
  for (const { name, what } of missing) known.set(name, await typedSecret(what))
  return { given, known }
}

/** A secret in its environment variable, or nothing. Throws a UsageError for a value that cannot be one. */
export const inEnvironment = (name: string): Secret | undefined => {
  const value = process.env[variableOf(name)]
  if (value === undefined) return undefined
  if (!isOdd(value)) return new Secret(value)
  throw new UsageError([{ file: variableOf(name), what: 'in the environment', expected: oneLine, remedy: 'Correct or unset it.' }])
}

const placeholders = ({ settings, note }: Source, given: NamedSecret[], made: NamedSecret[]): Secrets => {
  note(`\`<${variableOf('name')}>\` stands for the secret \`name\`.
The bastion keeps it as the one line of the file \`${fileOf(settings, 'name')}\` in ~/.keybuzz/secrets.`)
  return { given, known: new Map([...given, ...made].map(({ name }) => [name, Secret.named(`<${variableOf(name)}>`)])) }
}

/**
 * The step that every given secret is known, and is the one that the bastion keeps. Before one is kept `refusal` is asked: it
 * says why the backends do not take them, or '': so a mistyped password is asked for again by the next run. Where nobody can say
 * (`async () => ''`), the step that uses the password has a hint how to give another one. A plan without a terminal refuses everything where one is missing: the apply behind it could not ask.
 */
export const knowsGiven = (
  { settings, mode }: Pick<Source, 'settings' | 'mode'>,
  { given, known }: Secrets,
  { whose, refusal }: { whose: string; refusal: () => Promise<string> }
): ClusterStep => ({
  name: `knows the passwords of ${whose}`,
  check: async () => {
    const missing = given.filter(({ name }) => !known.has(name)).map(({ name }) => name)
    const lines = missing.map((name) => `${name} is not known`)
    if (missing.length > 0 && mode === 'plan' && !hasTerminal()) {
      throw new Refusal(`${lines.join('\n')}\nthere is no terminal to ask at: set ${missing.map(variableOf).join(', ')}, or write them into the file of --secrets`)
    }
    if (missing[0] !== undefined) {
      lines.push(`an apply asks at the terminal, or takes them from --secrets or variables such as ${variableOf(missing[0])}`)
    }
    for (const { name } of given) {
      const secret = known.get(name)
      if (secret === undefined) continue
      const kept = await keptSecret(fileOf(settings, name))
      if (kept?.reveal() !== secret.reveal()) lines.push(kept ? `${name} is another than the one kept` : `${name} is not kept yet`)
    }
    return lines.join('\n')
  },
  look: `for name in ${namesOf(given)}; do
  [ -s ${pathOf(settings, '"$name"')} ] || echo "$name is not known"
done`,
  change: async () => {
    const words = await refusal()
    if (words !== '') throw new Error(`not kept: ${words}`)
    for (const { name } of given) {
      const secret = known.get(name)
      if (secret) await keepSecret(fileOf(settings, name), secret)
    }
  },
  byHand: `${given.map(({ name, what }) => `# ${name}: ${what}`).join('\n')}
mkdir -p -m 700 ~/.keybuzz/secrets
for name in ${namesOf(given)}; do
  read -rsp "$name (Enter keeps the old one): " value; echo
  [ -z "$value" ] || (umask 077; printf '%s\\n' "$value" > ${pathOf(settings, '"$name"')})
done; unset value`
})

const namesOf = (given: NamedSecret[]): string => given.map(({ name }) => name).join(' ')
