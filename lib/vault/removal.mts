import { type Fault, UsageError } from '../base/errors.mts'
import type { Settings } from '../input/settings.mts'
import type { Kubectl } from '../reach/kubectl.mts'
import type { Vault } from '../reach/vault.mts'
import type { ClusterStep } from '../run/step.mts'
import { policyOf } from './auth.mts'
import type { Right } from './rights.mts'

const leasesOf = ({ vault: { database } }: Settings, app: string): string => `${database.mount}/creds/${app}`

/** What the removal of an application needs of its token. */
export const rightsToRemove = (settings: Settings, app: string): Right[] => {
  const { auth_path: auth, database } = settings.vault
  return [
    ...[`auth/${auth}/role/${app}`, `${database.mount}/roles/${app}`, `sys/policies/acl/${policyOf(settings, app)}`].map((path) => ({ path, capabilities: ['read', 'delete'] })),
    { path: `sys/leases/lookup/${leasesOf(settings, app)}/`, capabilities: ['list', 'sudo'] },
    { path: `sys/leases/revoke-prefix/${leasesOf(settings, app)}`, capabilities: ['update', 'sudo'] }
  ]
}

/** Throws a UsageError where an application cannot be removed from Vault: it is none, or the settings have it there. */
export const refuseUsed = ({ vault: { apps } }: Settings, app: string, known: readonly string[]): void => {
  const fault = (expected: string, remedy: string): Fault => ({ file: '--remove', what: 'value', value: app, expected, remedy })
  if (!known.includes(app)) throw new UsageError([fault(`one of ${known.join(', ')}`, 'Correct it.')])
  if ((apps as string[]).includes(app)) {
    throw new UsageError([fault('an application that gets its secrets from the cluster', `Take ${app} out of vault.apps in settings.yaml, and run 09_k3s_06 first.`)])
  }
}

const isGone = (vault: Vault, name: string, path: string): ClusterStep => ({
  name,
  check: async () => ((await vault.read(path)) ? 'is still there' : ''),
  look: `vault read ${path}     # No value found`,
  change: () => vault.remove(path),
  byHand: `vault delete ${path}`
})

type Pod = { metadata: { name: string; annotations?: Record<string, string> } }

const running = 'status.phase!=Succeeded,status.phase!=Failed'

/**
 * The steps that nothing of an application is left in Vault but its secrets: its pods get no new token, its users of PostgreSQL
 * end, and nobody can make new ones. Needs that no pod of it gets its secrets from Vault any more.
 */
export const isRemoved = (vault: Vault, kubectl: Kubectl, settings: Settings, { app, namespace }: { app: string; namespace: string }): ClusterStep[] => {
  const { auth_path: auth, database } = settings.vault
  const leases = leasesOf(settings, app)
  return [
    {
      name: `has no pod of ${app} that gets its secrets from Vault`,
      check: async () => {
        // A Job's pod that has ended stays, and needs nothing more.
        const { items } = JSON.parse(await kubectl`-n ${namespace} get pods --field-selector ${running} -o json`) as { items: Pod[] }
        return items.filter(({ metadata: { annotations = {} } }) => 'keybuzz.io/vault-agent' in annotations).map(({ metadata }) => metadata.name).join(', ')
      },
      look: `kubectl -n ${namespace} get pods --field-selector ${running} -o yaml | grep keybuzz.io/vault-agent     # nothing`,
      hint: '09_k3s_06 moves it back; the pods of its Jobs and of a rollout end by themselves'
    },
    isGone(vault, `lets no pod of ${app} log in`, `auth/${auth}/role/${app}`),
    {
      name: `has no user of PostgreSQL of ${app}`,
      check: async () => {
        const { keys = [] } = ((await vault.read(`sys/leases/lookup/${leases}/?list=true`))?.data ?? {}) as { keys?: string[] }
        return keys.length === 0 ? '' : `${keys.length} leases`
      },
      look: `vault list sys/leases/lookup/${leases}     # No value found`,
      change: async () => void (await vault.write(`sys/leases/revoke-prefix/${leases}`, { sync: true })),
      byHand: `vault lease revoke -prefix -sync ${leases}`,
      timeout: 120
    },
    isGone(vault, `makes no user of PostgreSQL for ${app}`, `${database.mount}/roles/${app}`),
    isGone(vault, `has no policy of ${app}`, `sys/policies/acl/${policyOf(settings, app)}`)
  ]
}
