import { createHmac } from 'node:crypto'
import { applyObjects } from '../cluster/objects.mts'
import { Secret } from '../input/secrets.mts'
import type { Kubectl } from '../reach/kubectl.mts'
import type { Run } from '../run/run.mts'
import type { ClusterStep } from '../run/step.mts'
import { namespaceOf, type App } from './app.mts'
import { registryPassword } from './given.mts'
import { ofPassword, ofTemplate, secretByHand } from './secret-by-hand.mts'
import { dataOf, ofSecrets, templateOf, unknownOf, type AppSecrets } from './secrets.mts'

/** A Secret's place. */
type Place = { namespace: string; name: string }

type Means = Pick<Run, 'settings' | 'kubectl'>

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

const secretStep = (kubectl: Kubectl, { namespace, name, step, type, unknown, data, look, byHand }: Wanted): ClusterStep => {
  const compare = async () => {
    const found = await readData(kubectl, { namespace, name })
    const wanted = data()
    const has = (key: string): boolean => Object.hasOwn(found?.data ?? {}, key)
    return {
      found,
      missing: Object.keys(wanted).filter((key) => !has(key)),
      different: Object.keys(wanted).filter((key) => has(key) && found?.data[key] !== wanted[key]),
      surplus: Object.keys(found?.data ?? {}).filter((key) => !Object.hasOwn(wanted, key))
    }
  }
  return {
    name: step,
    check: async () => {
      const waiting = unknown()
      if (waiting.length > 0) return `waits for ${waiting.join(', ')}`
      const { found, missing, different, surplus } = await compare()
      if (found === undefined) return 'is missing'
      const kinds = Object.entries({ missing, different, 'too many': surplus }).filter(([, keys]) => keys.length > 0)
      const words = kinds.map(([kind, keys]) => `${kind}: ${keys.join(', ')}`)
      return [...(found.type === type ? [] : [`is of the type ${found.type}`]), ...words].join('; ')
    },
    look,
    change: async () => {
      // Not stringData: a key that is left out of it later would stay (kubernetes/kubernetes#108008).
      const encoded = Object.fromEntries(Object.entries(data()).map(([key, value]) => [key, Buffer.from(value).toString('base64')]))
      const object = JSON.stringify({ apiVersion: 'v1', kind: 'Secret', type, metadata: { namespace, name }, data: encoded })
      const { found } = await compare()
      // The type of a Secret cannot change.
      if (found && found.type !== type) await kubectl`-n ${namespace} delete secret ${name}`
      await applyObjects(kubectl, object)
      // An apply leaves the keys that somebody else has set.
      if ((await compare()).surplus.length > 0) await kubectl({ input: object })`replace -f -`
    },
    byHand
  }
}

/** The step that the Secret of an application holds what it is to hold, and nothing else. Its words name keys, never values. */
export const hasSecret = ({ settings, kubectl }: Means, app: App, secrets: AppSecrets): ClusterStep => {
  const place = { namespace: namespaceOf(app.name), name: app.name }
  return secretStep(kubectl, {
    ...place,
    step: `has the Secret of ${app.title}`,
    type: 'Opaque',
    unknown: () => unknownOf(app, secrets),
    data: () => dataOf(app, secrets),
    ...secretByHand(settings, { ...place, type: 'Opaque' }, ofTemplate(templateOf(app)))
  })
}

/** The step that the namespace of an application with private images has the Secret `registry` to pull them with. */
export const hasPullSecret = ({ settings, kubectl }: Means, app: App, { known }: AppSecrets): ClusterStep => {
  const { server, user } = settings.apps.registry
  const place = { namespace: namespaceOf(app.name), name: 'registry', type: 'kubernetes.io/dockerconfigjson' }
  return secretStep(kubectl, {
    ...place,
    step: `can pull the images of ${app.title}`,
    unknown: () => (known.has(registryPassword) ? [] : [registryPassword]),
    data: () => {
      // The kubelet needs nothing but `auth` (kubernetes: pkg/credentialprovider/config.go).
      const auth = new Secret(Buffer.from(`${user}:${ofSecrets(known)(registryPassword)}`).toString('base64'))
      return { '.dockerconfigjson': `{"auths":{"${server}":{"auth":"${auth.reveal()}"}}}` }
    },
    ...secretByHand(settings, place, { '.dockerconfigjson': ofPassword(server, user, registryPassword) })
  })
}

/**
 * A checksum of what an application's pods are started with: texts such as its ConfigMaps, and the values of its Secret. It
 * is the same on every bastion that knows the secrets, and 'unknown' on one that does not: take it once `hasMade` holds.
 * Everybody who sees the pods sees it, and must not be able to try passwords with it. So it is keyed with the whole Secret, and a
 * Secret with a password in it also holds a made secret of 256 bits; throws where one does not. It begins with a letter:
 * YAML would take some for numbers.
 */
export const checksum = (app: App, secrets: AppSecrets, texts: string[]): string => {
  if (app.given.length > 0 && app.made.length === 0) {
    throw new Error(`${app.name} has passwords and no made secret: its checksum would betray them`)
  }
  if (unknownOf(app, secrets).length > 0) return 'unknown'
  const data = Object.entries(dataOf(app, secrets)).toSorted(([one], [other]) => (one < other ? -1 : 1))
  return `c${createHmac('sha256', JSON.stringify(data)).update(JSON.stringify(texts)).digest('hex').slice(0, 16)}`
}
