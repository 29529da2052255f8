import { createHash } from 'node:crypto'
import { until } from '../base/wait.mts'
import { readManifest, withObjects } from '../cluster/objects.mts'
import { rolloutInWords } from '../cluster/pods.mts'
import { newSecret } from '../input/secrets.mts'
import type { Settings } from '../input/settings.mts'
import type { Vault } from '../reach/vault.mts'
import type { Run } from '../run/run.mts'
import type { ClusterStep } from '../run/step.mts'
import { type Files, userOf, valueOf } from './agent.mts'
import type { Client } from './auth.mts'

/** The pod that shows that all works. It is treated as an application. */
export const canary: Client = { app: 'vault-canary', namespace: 'keybuzz-vault-canary', account: 'vault-canary' }

const pathOf = ({ vault: { kv } }: Settings): string => `${kv}/data/${canary.app}`

const secretOf = async (vault: Vault, settings: Settings): Promise<string> => {
  const { value } = ((await vault.read(pathOf(settings)))?.data['data'] ?? {}) as { value?: string }
  return value ?? ''
}

/** What its pod gets. */
export const canaryFiles = (settings: Settings): Files => ({
  value: valueOf(settings, canary.app, 'value'),
  user: userOf(settings, canary.app, 'username')
})

/** The step that there is a secret which the canary can read. */
export const hasCanarySecret = (vault: Vault, settings: Settings): ClusterStep => ({
  name: 'has a secret for the canary',
  check: async () => ((await secretOf(vault, settings)) === '' ? 'is missing' : ''),
  look: `vault kv get -mount=${settings.vault.kv} ${canary.app}`,
  change: async () => void (await vault.write(pathOf(settings), { data: { value: newSecret().reveal() } })),
  byHand: `vault kv put -mount=${settings.vault.kv} ${canary.app} value=@<(openssl rand -hex 32 | tr -d '\\n')`
})

/**
 * The step that a pod gets its secrets injected: a Job reads a secret and a user of PostgreSQL, and ends. With a token of Vault
 * what it has read is compared.
 */
export const injects = ({ kubectl, settings, signal }: Pick<Run, 'kubectl' | 'settings' | 'signal'>, vault: Vault | undefined): ClusterStep => ({
  name: 'gives a pod its secrets',
  trial: true,
  timeout: 180,
  check: async () => {
    const manifest = await readManifest('08_vault/canary-job.yaml', { IMAGE: settings.vault.agent.image })
    const { namespace } = canary
    return withObjects({ kubectl, manifest, signal }, async () => {
      const words = await until(() => rolloutInWords(kubectl, { kind: 'job', namespace, name: 'canary' }), { seconds: 90, signal, every: 1 })
      if (words !== '') return words
      const log = await kubectl`-n ${namespace} logs job/canary -c canary`
      const expected = vault && createHash('sha256').update(await secretOf(vault, settings)).digest('hex')
      if (expected !== undefined && !log.includes(expected)) return 'it read another secret than Vault has'
      return log.includes('a user of PostgreSQL') ? '= a secret, and a user of PostgreSQL' : `it read no user of PostgreSQL: ${log.trim()}`
    })
  },
  look: `# In the folder of the scripts: a Job reads its secrets.
sed 's,[$]{IMAGE},${settings.vault.agent.image},' manifests/08_vault/canary-job.yaml | kubectl apply -f -
kubectl -n ${canary.namespace} wait --for=condition=complete job/canary --timeout=90s
kubectl -n ${canary.namespace} logs job/canary -c canary
kubectl -n ${canary.namespace} delete job canary`,
  hint: `docs/vault.md says what a pod waits for: kubectl -n ${canary.namespace} logs job/canary -c vault-agent`
})
