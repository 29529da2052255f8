import { hasNoneOf } from '../cluster/turned-off.mts'
import type { Vault } from '../reach/vault.mts'
import type { Run } from '../run/run.mts'
import type { ClusterStep } from '../run/step.mts'
import { hasSecret } from '../secrets/cluster-secret.mts'
import type { Secrets } from '../secrets/holder.mts'
import { type Copy, inSecret } from '../secrets/made.mts'
import { mayRead } from '../vault/auth.mts'
import { makesUsers } from '../vault/database.mts'
import { keepsSecrets, readKept } from '../vault/kept.mts'
import type { App } from './app.mts'
import { clientOf, keptOf } from './from-vault.mts'
import { hasValidUsers, isRotated } from './rotation.mts'

/** Where an application's pods get their secrets from. */
export type Source = {
  /** What is there besides the bastion's files. */
  copy: Copy
  /** True while pods may still get their secrets from another source, which must stay open to them. */
  isLeft: () => Promise<boolean>
  /** Steps before the pods: they could not start without. */
  before: ClusterStep[]
  /** Steps once all pods get their secrets from here: what another source had goes. */
  after: ClusterStep[]
}

/** What manifests/06_core_apps/vault.yaml and the agent's configuration bring. */
const ofVault = [
  'cronjob/rotation', 'networkpolicy/rotation', 'networkpolicy/vault-agent', 'rolebinding/rotation', 'role/rotation',
  'serviceaccount/rotation', 'configmap/vault-agent'
]

/** A Secret of the cluster, as long as it has something to hold. */
export const secretSource = (run: Run, app: App, secrets: Secrets): Source => {
  const isLeft = async (): Promise<boolean> =>
    app.login !== undefined && (await run.kubectl`-n ${app.namespace} get configmap vault-agent --ignore-not-found -o name`) !== ''
  return {
    copy: {
      ...inSecret(run.kubectl, app),
      elsewhere: async () => ((await isLeft()) ? `Vault may still have them: vault kv get -mount=${run.settings.vault.kv} ${app.name}` : '')
    },
    isLeft,
    before: app.given.length + app.made.length > 0 ? [hasSecret(run, app, secrets)] : [],
    after: app.login ? [hasNoneOf(run.kubectl, app.namespace, ofVault, 'has nothing left of Vault')] : []
  }
}

/** Vault. Without a client of it (a validation that has no token) only what the cluster shows is checked. */
export const vaultSource = (run: Run, app: App, secrets: Secrets, vault: Vault | undefined): Source => {
  const { settings, kubectl } = run
  const { kv } = settings.vault
  const client = clientOf(app)
  const secret = inSecret(kubectl, app)
  const place = `${kv}/${app.name} of Vault`
  return {
    copy: vault ? {
      place,
      earlier: `its earlier versions (vault kv get -mount=${kv} -version=1 ${app.name})`,
      // An application that moves to Vault has its keys in its Secret until then.
      read: async () => (await readKept(vault, settings, app.name)) ?? secret.read(),
      shell: (key) => `(vault kv get -mount=${kv} -field=${key} ${app.name} || true)`, // it fails where nothing is there
      remove: `vault kv delete -mount=${kv} ${app.name}`
    } : { ...secret, unasked: `${place} was not asked: there is no token of it` },
    isLeft: async () => false,
    before: vault ? [
      ...mayRead(vault, settings, client),
      ...makesUsers(vault, settings, secrets, client),
      keepsSecrets(vault, settings, keptOf(app), secrets)
    ] : [],
    after: [
      hasNoneOf(kubectl, app.namespace, [`secret/${app.name}`], 'has no Secret any more'),
      hasValidUsers(run, app, secrets),
      isRotated(run, app)
    ]
  }
}
