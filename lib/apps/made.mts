import { keepSecret, keptSecret, newSecret, Secret } from '../input/secrets.mts'
import type { Settings } from '../input/settings.mts'
import type { Run } from '../run/run.mts'
import { Refusal, type ClusterStep } from '../run/step.mts'
import { namespaceOf, type App } from './app.mts'
import { readData } from './cluster-secret.mts'
import { fileOf, keyOf, pathOf, type AppSecrets } from './secrets.mts'

/**
 * The step that each secret that is made for an application is on the bastion, and the same in the cluster, as far as its
 * Secret is there. One that only the cluster has is kept on the bastion. One that neither has is made, but only where the
 * application was never used: what an application has encrypted needs the key that it was encrypted with. `isUsed` says
 * whether its database has tables; it is asked only where it matters, and where the password of the database is known.
 * It refuses every change where a key is lost, or is another in the cluster. What it finds and makes is `known` from then on.
 */
export const hasMade = (
  { settings, kubectl }: Pick<Run, 'settings' | 'kubectl'>,
  app: App,
  { known }: AppSecrets,
  isUsed: () => Promise<boolean>
): ClusterStep => {
  const database = app.uses.find((use) => use.backend === 'postgres')
  const place = { namespace: namespaceOf(app.name), name: app.name }
  return {
    name: `keeps the keys of ${app.title}`,
    check: async () => {
      const data = (await readData(kubectl, place))?.data ?? {}
      const words: string[] = []
      const nowhere: string[] = []
      const differing: string[] = []
      for (const { name } of app.made) {
        const kept = await keptSecret(fileOf(settings, name))
        const value = data[keyOf(app, name)]
        const other = value ? new Secret(value) : undefined
        const secret = kept ?? other
        if (secret) known.set(name, secret)
        if (secret === undefined) nowhere.push(name)
        else if (!kept) words.push(`${name} is in the cluster only`)
        else if (other && other.reveal() !== kept.reveal()) differing.push(name)
      }
      if (differing.length > 0) throw new Refusal(twoOf(settings, app, differing))
      if (nowhere.length > 0 && database && known.has(database.password) && await isUsed()) {
        throw new Refusal(lostOf(settings, app, nowhere, database.database))
      }
      return [...words, ...nowhere.map((name) => `${name} is not made yet`)].join('\n')
    },
    look: app.made.map(({ name }) => `${fromCluster(app, name)} | cmp - <(tr -d '\\n' < ${pathOf(settings, name)})`).join('\n'),
    change: async () => {
      for (const { name } of app.made) {
        const file = fileOf(settings, name)
        if (await keptSecret(file)) continue
        const secret = known.get(name) ?? newSecret()
        await keepSecret(file, secret)
        known.set(name, secret)
      }
    },
    byHand: `(set -euo pipefail; umask 077; mkdir -p ~/.keybuzz/secrets
# What only the cluster has is taken from there.
${app.made.map(({ name }) => `[ -s ${pathOf(settings, name)} ] || ${fromCluster(app, name)} > ${pathOf(settings, name)}`).join('\n')}
# Only where ${app.title} was never used: what it has encrypted needs its old keys (docs/app-secrets.md).
${app.made.map(({ name }) => `[ -s ${pathOf(settings, name)} ] || openssl rand -hex 32 > ${pathOf(settings, name)}`).join('\n')})`
  }
}

const fromCluster = (app: App, name: string): string =>
  `kubectl -n ${namespaceOf(app.name)} get secret ${app.name} --ignore-not-found -o jsonpath='{.data.${keyOf(app, name)}}' | base64 -d`

const placeOf = (app: App): string => `the Secret ${namespaceOf(app.name)}/${app.name}`

const twoOf = (settings: Settings, app: App, names: string[]): string =>
  `${names.map((name) => `${pathOf(settings, name)} is another one than ${keyOf(app, name)} in ${placeOf(app)}`).join('\n')}
If ${app.title} works now, the cluster's is right: rename the file and run this again. If the file's is right: delete ${placeOf(app)}.
docs/app-secrets.md says how to tell`

const lostOf = (settings: Settings, app: App, names: string[], database: string): string =>
  `neither on this bastion nor in the cluster: ${names.join(', ')}.
The database ${database} is in use, and what ${app.title} has encrypted there needs them.
Look in ~/.keybuzz/secrets of other bastions, in backups, and for ${placeOf(app)} in etcd's snapshots.
Put them into ${names.map((name) => pathOf(settings, name)).join(', ')} and run this again: docs/app-secrets.md`
