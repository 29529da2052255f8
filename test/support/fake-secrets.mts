import type { Kubectl } from '../../lib/reach/kubectl.mts'
import { fakeKubectl } from './fake-kubectl.mts'

type Stored = { type: string; data: Record<string, string> }
type Sent = { type: string; metadata: { namespace: string; name: string }; data: Record<string, string> }

type FakeCluster = {
  kubectl: Kubectl
  commands: string[]
  sent: string[]
  /** Somebody else sets a Secret: its place is namespace/name. */
  put: (place: string, data: Record<string, string>, type?: string) => void
  get: (place: string) => Stored | undefined
  /** From now on every command fails so. */
  away: (error: Error) => void
}

const each = (data: Record<string, string>, change: (value: string) => string): Record<string, string> =>
  Object.fromEntries(Object.entries(data).map(([key, value]) => [key, change(value)]))
const encode = (value: string): string => Buffer.from(value).toString('base64')
const decode = (value: string): string => Buffer.from(value, 'base64').toString()

/**
 * A cluster that has Secrets and nothing else, and a kubectl for it. As the API does, an apply removes the keys that it has
 * set before, and leaves those of others. `commands` has what was asked of it, `sent` what went to its stdin.
 */
export const fakeSecrets = (): FakeCluster => {
  const stored = new Map<string, Stored>()
  const ours = new Map<string, string[]>()
  const commands: string[] = []
  const sent: string[] = []
  let failure: Error | undefined
  const take = (input: string, keep: (key: string, place: string) => boolean): void => {
    const { type, metadata: { namespace, name }, data } = JSON.parse(input) as Sent
    const place = `${namespace}/${name}`
    const before = stored.get(place)
    if (before && before.type !== type) throw new Error('field is immutable')
    const left = Object.entries(before?.data ?? {}).filter(([key]) => keep(key, place))
    stored.set(place, { type, data: { ...Object.fromEntries(left), ...data } })
  }
  const kubectl = fakeKubectl((command, { input = '' }) => {
    commands.push(command)
    if (input !== '') sent.push(input)
    if (failure) throw failure
    const [, namespace, verb, name] = /^-n (\S+) (get|delete) secret (\S+)/.exec(command) ?? []
    const place = `${namespace}/${name}`
    if (verb === 'get') return stored.has(place) ? JSON.stringify({ kind: 'Secret', ...stored.get(place) }) : ''
    if (verb === 'delete') stored.delete(place)
    else if (command.startsWith('apply --server-side ')) {
      take(input, (key, at) => !ours.get(at)?.includes(key))
      const { metadata, data } = JSON.parse(input) as Sent
      ours.set(`${metadata.namespace}/${metadata.name}`, Object.keys(data))
    } else if (command.startsWith('replace ')) take(input, () => false)
    else throw new Error(`no answer for ${command}`)
    return ''
  })
  return {
    kubectl, commands, sent,
    put: (place, data, type = 'Opaque') => void stored.set(place, { type, data: each(data, encode) }),
    get: (place) => {
      const found = stored.get(place)
      return found && { type: found.type, data: each(found.data, decode) }
    },
    away: (error) => void (failure = error)
  }
}
