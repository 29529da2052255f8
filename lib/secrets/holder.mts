import { Secret } from '../input/secrets.mts'
import type { Settings } from '../input/settings.mts'

/** A secret by its name on the bastion, such as n8n-postgres-password. `what` completes "the ...". */
export type NamedSecret = { name: string; what: string }

/** Gives a secret's value by its name. */
export type SecretOf = (name: string) => string

/** Who has a Secret in the cluster: an application, or a part of the monitoring. */
export type Holder = {
  /** The Secret's name, and its namespace. */
  name: string
  namespace: string
  /** As it is called in the report: KeyBuzz API. */
  title: string
  /** Secrets that the operator gives. */
  given: NamedSecret[]
  /** Secrets that are made once, and never again: 64 hexadecimal digits. */
  made: NamedSecret[]
  /** The data of the Secret. */
  secret: (of: SecretOf) => Record<string, string>
}

/** The secrets of one run. */
export type Secrets = {
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
export const ofSecrets = (known: Secrets['known']): SecretOf => (name) => {
  const secret = known.get(name)
  if (secret === undefined) throw new Error(`the secret ${name} is not known`)
  return secret.reveal()
}

/** The names of a holder's secrets that are not known. */
export const unknownOf = ({ given, made }: Holder, { known }: Secrets): string[] =>
  [...given, ...made].map(({ name }) => name).filter((name) => !known.has(name))

const open = '{{'
const close = '}}'

/** Finds a secret's place in a template: its name, and whether its value is encoded for a URL there. */
export const places = new RegExp([[open, close], [open, close].map(encodeURIComponent)].map((ends) => ends.join('([a-z0-9-]+)')).join('|'), 'g')

/** The data of a Secret with the places of the values instead of these. */
export const templateOf = (holder: Holder): Record<string, string> => holder.secret((name) => `${open}${name}${close}`)

/** The data of a Secret. Its values are secrets themselves: an address with a password in it is never shown. */
export const dataOf = (holder: Holder, { known }: Secrets): Record<string, string> => {
  const template = templateOf(holder)
  const data = holder.secret(ofSecrets(known))
  for (const [key, value] of Object.entries(data)) if (value !== template[key]) new Secret(value)
  return data
}

/** Which keys are missing, different or too many, in words; '' where none is. No value is among them. */
export const keysThatDiffer = (found: Record<string, string> | undefined, wanted: Record<string, string>): string => {
  if (found === undefined) return 'is missing'
  const kinds = {
    missing: Object.keys(wanted).filter((key) => !Object.hasOwn(found, key)),
    different: Object.keys(wanted).filter((key) => Object.hasOwn(found, key) && found[key] !== wanted[key]),
    'too many': Object.keys(found).filter((key) => !Object.hasOwn(wanted, key))
  }
  return Object.entries(kinds).filter(([, keys]) => keys.length > 0).map(([kind, keys]) => `${kind}: ${keys.join(', ')}`).join('; ')
}

/** The key of a Secret under which a secret stands as it is. Throws where there is none. */
export const keyOf = (holder: Holder, name: string): string => {
  const found = Object.entries(templateOf(holder)).find(([, value]) => value === `${open}${name}${close}`)
  if (found === undefined) throw new Error(`the Secret of ${holder.name} has no key for ${name} alone`)
  return found[0]
}
