import { Secret } from '../input/secrets.mts'
import type { Settings } from '../input/settings.mts'
import type { App, NamedSecret, SecretOf } from './app.mts'

/** The secrets of the applications of one run. */
export type AppSecrets = {
  /** Those that the operator gives, each once. */
  given: NamedSecret[]
  /** The values that are known, given and made ones. A step that finds or makes one adds it. */
  known: Map<string, Secret>
}

/** The environment variable that gives a secret, also its name in the file of --secrets: KEYBUZZ_N8N_POSTGRES_PASSWORD. */
export const variableOf = (name: string): string => `KEYBUZZ_${name.toUpperCase().replaceAll('-', '_')}`

/** The file in ~/.keybuzz/secrets that keeps a secret. Two clusters of one bastion have different ones. */
export const fileOf = ({ environment }: Settings, name: string): string => `${environment}-${name}`

/** The file of a secret as a shell and an operator read it. */
export const pathOf = (settings: Settings, name: string): string => `~/.keybuzz/secrets/${fileOf(settings, name)}`

/** Gives the values of known secrets. Throws for any other one. */
export const ofSecrets = (known: AppSecrets['known']): SecretOf => (name) => {
  const secret = known.get(name)
  if (secret === undefined) throw new Error(`the secret ${name} is not known`)
  return secret.reveal()
}

/** The names of an application's secrets that are not known. */
export const unknownOf = ({ given, made }: App, { known }: AppSecrets): string[] =>
  [...given, ...made].map(({ name }) => name).filter((name) => !known.has(name))

const open = '{{'
const close = '}}'

/** Finds a secret's place in a template: its name, and whether its value is encoded for a URL there. */
export const places = new RegExp([[open, close], [open, close].map(encodeURIComponent)].map((ends) => ends.join('([a-z0-9-]+)')).join('|'), 'g')

/** The data of an application's Secret with the places of the values instead of these. */
export const templateOf = (app: App): Record<string, string> => app.secret((name) => `${open}${name}${close}`)

/** The data of an application's Secret. Its values are secrets themselves: an address with a password in it is never shown. */
export const dataOf = (app: App, { known }: AppSecrets): Record<string, string> => {
  const template = templateOf(app)
  const data = app.secret(ofSecrets(known))
  for (const [key, value] of Object.entries(data)) if (value !== template[key]) new Secret(value)
  return data
}

/** The key of an application's Secret under which a secret stands as it is. Throws where there is none. */
export const keyOf = (app: App, name: string): string => {
  const found = Object.entries(templateOf(app)).find(([, value]) => value === `${open}${name}${close}`)
  if (found === undefined) throw new Error(`the Secret of ${app.name} has no key for ${name} alone`)
  return found[0]
}
