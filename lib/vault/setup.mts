import { manifestStep, readManifest } from '../cluster/objects.mts'
import { resourceValues } from '../cluster/values.mts'
import type { Run } from '../run/run.mts'
import type { ClusterStep } from '../run/step.mts'
import type { Secrets } from '../secrets/holder.mts'
import type { Vault } from '../reach/vault.mts'
import { agentOf } from './agent.mts'
import { hasMount, knowsPods, mayRead } from './auth.mts'
import { canary, canaryFiles } from './canary.mts'
import { knowsPostgres } from './database.mts'

/** The steps that the cluster can give a pod Vault's agent, and has a place for the canary. */
export const inCluster = async ({ settings, kubectl }: Pick<Run, 'settings' | 'kubectl'>): Promise<ClusterStep[]> => {
  const { backends: { vault: { address, port } }, vault: { agent } } = settings
  return [
    manifestStep(kubectl, 'has an account that Vault checks tokens with', await readManifest('08_vault/reviewer.yaml')),
    manifestStep(kubectl, 'has the injection', await readManifest('08_vault/injection.yaml', { IMAGE: agent.image, ...resourceValues(agent.resources) })),
    manifestStep(kubectl, 'has a place for the canary', await readManifest('08_vault/canary.yaml', { VAULT_ADDRESS: address, VAULT_PORT: port })),
    manifestStep(kubectl, 'has the configuration of its agent', await agentOf(settings, canary, canaryFiles(settings)))
  ]
}

/** The steps that Vault knows the cluster's pods, and has a place for what it gives them. Whoever is to get something adds it. */
export const inVault = (vault: Vault, { settings, kubectl }: Pick<Run, 'settings' | 'kubectl'>, secrets: Secrets): ClusterStep[] => {
  const { auth_path: auth, kv, database } = settings.vault
  return [
    hasMount(vault, { name: `lets the pods of the cluster log in at auth/${auth}`, list: 'sys/auth', path: auth, wanted: { type: 'kubernetes' } }),
    hasMount(vault, { name: `keeps secrets at ${kv}`, list: 'sys/mounts', path: kv, wanted: { type: 'kv', options: { version: '2' } } }),
    hasMount(vault, { name: `makes users of databases at ${database.mount}`, list: 'sys/mounts', path: database.mount, wanted: { type: 'database' } }),
    ...mayRead(vault, settings, canary),
    knowsPods(vault, { settings, kubectl }, canary),
    knowsPostgres(vault, settings, secrets)
  ]
}
