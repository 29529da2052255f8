import { createHmac } from 'node:crypto'
import { applyObjects } from '../cluster/objects.mts'
import type { Kubectl } from '../reach/kubectl.mts'
import type { Run } from '../run/run.mts'
import type { ClusterStep } from '../run/step.mts'
import { ofTemplate, secretByHand } from './by-hand.mts'
import { dataOf, type Holder, keysThatDiffer, type Secrets, templateOf, unknownOf } from './holder.mts'

/** A Secret's place. */
type Place = { namespace: string; name: string }

export type Means = Pick<Run, 'settings' | 'kubectl'>

type Data = Record<string, string>

/** The type and the data of a Secret in the cluster, or nothing where it, or its namespace, is not there. */
export const readData = async (kubectl: Kubectl, { namespace, name }: Place): Promise<{ type: string; data: Data } | undefined> => {
  const found = await kubectl`-n ${namespace} get secret ${name} --ignore-not-found -o json`
  if (found.trim() === '') return undefined
  const { type, data = {} } = JSON.parse(found) as { type: string; data?: Data }
  return { type, data: Object.fromEntries(Object.entries(data).map(([key, value]) => [key, Buffer.from(value, 'base64').toString()])) }
}

type Wanted = Place & {
  step: string
  type: string
  /** The names of secrets that are not known, and so the data neither. */
  unknown: () => string[]
  data: () => Data
  look: string
  byHand: string
}

/** The step that a Secret holds what it is to hold, and nothing else. Its words name keys, never values. */
export const secretStep = (kubectl: Kubectl, { namespace, name, step, type, unknown, data, look, byHand }: Wanted): ClusterStep => {
  const place = { namespace, name }
  return {
    name: step,
    check: async () => {
      const waiting = unknown()
      if (waiting.length > 0) return `waits for ${waiting.join(', ')}`
      const found = await readData(kubectl, place)
      const words = keysThatDiffer(found?.data, data())
      return [...(found && found.type !== type ? [`is of the type ${found.type}`] : []), ...(words === '' ? [] : [words])].join('; ')
    },
    look,
    change: async () => {
      const wanted = data()
      // Not stringData: a key that is left out of it later would stay (kubernetes/kubernetes#108008).
      const encoded = Object.fromEntries(Object.entries(wanted).map(([key, value]) => [key, Buffer.from(value).toString('base64')]))
      const object = JSON.stringify({ apiVersion: 'v1', kind: 'Secret', type, metadata: { namespace, name }, data: encoded })
      const found = await readData(kubectl, place)
      // The type of a Secret cannot change.
      if (found && found.type !== type) await kubectl`-n ${namespace} delete secret ${name}`
      await applyObjects(kubectl, object)
      // An apply leaves the keys that somebody else has set.
      const after = await readData(kubectl, place)
      if (Object.keys(after?.data ?? {}).some((key) => !Object.hasOwn(wanted, key))) await kubectl({ input: object })`replace -f -`
    },
    byHand
  }
}

/** The step that the Secret of a holder is as it says. */
export const hasSecret = ({ settings, kubectl }: Means, holder: Holder, secrets: Secrets): ClusterStep => {
  const place = { namespace: holder.namespace, name: holder.name }
  return secretStep(kubectl, {
    ...place,
    step: `has the Secret of ${holder.title}`,
    type: 'Opaque',
    unknown: () => unknownOf(holder, secrets),
    data: () => dataOf(holder, secrets),
    ...secretByHand(settings, { ...place, type: 'Opaque' }, ofTemplate(templateOf(holder)))
  })
}

/** What stands in the place of a checksum in a runbook. */
export const checksumByHand = '<CHECKSUM>'

/** What a runbook says of it. */
export const noteOfChecksum = `\`${checksumByHand}\` of pods is what the cluster has there: a difference in this line alone is none. Another value, such as the
date, replaces the pods, as they need it after a changed password or configuration.`

/**
 * A checksum of what a holder's pods are started with: texts such as its ConfigMaps, and the values of its Secret. It
 * is the same on every bastion that knows the secrets, and 'unknown' on one that does not: take it once `hasMade` holds.
 * Everybody who sees the pods sees it, and must not be able to try passwords with it. So it is keyed with the whole Secret, and a
 * Secret with a password in it also holds a made secret of 256 bits; throws where one does not. It begins with a letter:
 * YAML would take some for numbers.
 */
export const checksum = (holder: Holder, secrets: Secrets, texts: string[]): string => {
  if (holder.given.length > 0 && holder.made.length === 0) {
    throw new Error(`${holder.name} has passwords and no made secret: its checksum would betray them`)
  }
  if (unknownOf(holder, secrets).length > 0) return 'unknown'
  const data = Object.entries(dataOf(holder, secrets)).toSorted(([one], [other]) => (one < other ? -1 : 1))
  return `c${createHmac('sha256', JSON.stringify(data)).update(JSON.stringify(texts)).digest('hex').slice(0, 16)}`
}
