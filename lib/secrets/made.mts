import { keepSecret, keptSecret, newSecret, Secret } from '../input/secrets.mts'
import type { Settings } from '../input/settings.mts'
import type { Kubectl } from '../reach/kubectl.mts'
import type { Run } from '../run/run.mts'
import { Refusal, type ClusterStep } from '../run/step.mts'
import { readData } from './cluster-secret.mts'
import { fileOf, type Holder, keyOf, pathOf, type Secrets } from './holder.mts'

/** Where a holder's secrets are besides on the bastion. */
export type Copy = {
  /** Completes "is only in ...". */
  place: string
  /** Where it may be found as it was before. */
  earlier: string
  /** Where lost ones may be besides, as a sentence; '' for nowhere. */
  elsewhere?: () => Promise<string>
  /** Why one that is not here may still be there, such as "... was not asked". Then none is called lost. */
  unasked?: string
  /** They by their keys; nothing where none are there. */
  read: () => Promise<Record<string, string> | undefined>
  /** Shell that prints the one of a key. */
  shell: (key: string) => string
  /** Shell that deletes it. */
  remove: string
}

/** A holder's Secret in the cluster. */
export const inSecret = (kubectl: Kubectl, holder: Holder): Copy => ({
  place: `the Secret ${holder.namespace}/${holder.name}`,
  earlier: "etcd's snapshots",
  read: async () => (await readData(kubectl, holder))?.data,
  shell: (key) => `kubectl -n ${holder.namespace} get secret ${holder.name} --ignore-not-found -o jsonpath='{.data.${key}}' | base64 -d`,
  remove: `kubectl -n ${holder.namespace} delete secret ${holder.name}`
})

/**
 * The step that each secret that is made for a holder is on the bastion, and the same in its copy, as far as that is there.
 * One that only the copy has is kept on the bastion. One that neither has is made, but only where the holder was never used:
 * what an application has encrypted needs the key that it was encrypted with. `usedDatabase` gives the name of its database
 * where that has tables, else ''; it is asked only where it matters.
 * It refuses every change where a key is lost, or is another in the copy. What it finds and makes is `known` from then on.
 */
export const hasMade = (
  { settings, kubectl }: Pick<Run, 'settings' | 'kubectl'>,
  holder: Holder,
  { known }: Secrets,
  usedDatabase: () => Promise<string> = async () => '',
  copy: Copy = inSecret(kubectl, holder)
): ClusterStep => ({
  name: `keeps the keys of ${holder.title}`,
  check: async () => {
    const data = (await copy.read()) ?? {}
    const words: string[] = []
    const nowhere: string[] = []
    const differing: string[] = []
    for (const { name } of holder.made) {
      const kept = await keptSecret(fileOf(settings, name))
      const value = data[keyOf(holder, name)]
      const other = value ? new Secret(value) : undefined
      const secret = kept ?? other
      if (secret) known.set(name, secret)
      if (secret === undefined) nowhere.push(name)
      else if (!kept) words.push(`${name} is only in ${copy.place}`)
      else if (other && other.reveal() !== kept.reveal()) differing.push(name)
    }
    if (differing.length > 0) throw new Refusal(twoOf(settings, holder, copy, differing))
    if (copy.unasked !== undefined) return [...words, ...nowhere.map((name) => `${name} is not on this bastion, and ${copy.unasked}`)].join('\n')
    const database = nowhere.length > 0 ? await usedDatabase() : ''
    if (database !== '') throw new Refusal(await lostOf(settings, holder, copy, nowhere, database))
    return [...words, ...nowhere.map((name) => `${name} is not made yet`)].join('\n')
  },
  look: holder.made.map(({ name }) => `${copy.shell(keyOf(holder, name))} | cmp - <(tr -d '\\n' < ${pathOf(settings, name)})`).join('\n'),
  change: async () => {
    for (const { name } of holder.made) {
      const file = fileOf(settings, name)
      if (await keptSecret(file)) continue
      const secret = known.get(name) ?? newSecret()
      await keepSecret(file, secret)
      known.set(name, secret)
    }
  },
  byHand: `(set -euo pipefail; umask 077; mkdir -p ~/.keybuzz/secrets
# What only ${copy.place} has is taken from there.
${holder.made.map(({ name }) => `[ -s ${pathOf(settings, name)} ] || ${copy.shell(keyOf(holder, name))} > ${pathOf(settings, name)}`).join('\n')}
# Only where ${holder.title} was never used: what it has encrypted needs its old keys (docs/app-secrets.md).
${holder.made.map(({ name }) => `[ -s ${pathOf(settings, name)} ] || openssl rand -hex 32 > ${pathOf(settings, name)}`).join('\n')})`
})

const twoOf = (settings: Settings, holder: Holder, { place, remove }: Copy, names: string[]): string =>
  `${names.map((name) => `${pathOf(settings, name)} is another one than ${keyOf(holder, name)} in ${place}`).join('\n')}
If ${holder.title} works now, the file is wrong: rename it and run this again. If the file is right: ${remove}
docs/app-secrets.md says how to tell`

const lostOf = async (settings: Settings, holder: Holder, { place, earlier, elsewhere }: Copy, names: string[], database: string): Promise<string> => {
  const also = (await elsewhere?.()) ?? ''
  return `neither on this bastion nor in ${place}: ${names.join(', ')}.
The database ${database} is in use, and what ${holder.title} has encrypted there needs them.
${also && `${also}\n`}Look in ~/.keybuzz/secrets of other bastions, in backups, and for ${place} in ${earlier}.
Put them into ${names.map((name) => pathOf(settings, name)).join(', ')} and run this again: docs/app-secrets.md`
}
