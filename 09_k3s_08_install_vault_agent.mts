#!/usr/bin/env -S sh -c 'exec "$(dirname "$(readlink -f "$0")")/lib/run/start.sh" "$0" "$@"'
// 09_k3s_08  Install the injection of Vault's secrets
//
// Vault, which is outside the cluster, learns to know the cluster's pods by their tokens, and what each may read. The cluster
// learns to give a pod that asks for it an agent beside it, which writes its secrets into files in memory and renews them. At the
// end a pod of its own must get a secret, and a user of PostgreSQL that Vault has made for it.
//
// Needs:   09_k3s_05. Vault, unsealed, with a token that may do what docs/vault.md lists: from --vault-token-file, VAULT_TOKEN, what
//          `vault login` has left, or typed when it asks. It is not kept. A role of PostgreSQL that may make roles.
// Changes: in Vault what docs/vault.md lists; the namespaces keybuzz-vault and keybuzz-vault-canary; the
//          MutatingAdmissionPolicy vault-agent.
// Undo:    docs/vault.md
// Example: ./09_k3s_08_install_vault_agent.mts --plan

import { type AppName, namespaceOf } from './lib/apps/app.mts'
import { givenNames } from './lib/apps/apps.mts'
import { vaultApps } from './lib/input/schema/vault.mts'
import { monitoringSecrets } from './lib/monitoring/holders.mts'
import { instead, value } from './lib/run/flags.mts'
import type { Run } from './lib/run/run.mts'
import { operate, script } from './lib/run/script.mts'
import { knownSecrets, knowsGiven } from './lib/secrets/given.mts'
import { variableOf } from './lib/secrets/holder.mts'
import { canary, hasCanarySecret, injects } from './lib/vault/canary.mts'
import { databasePassword, givenOf, makesUsers } from './lib/vault/database.mts'
import { openVault } from './lib/vault/open.mts'
import { isRemoved, refuseUsed, rightsToRemove } from './lib/vault/removal.mts'
import { rightsFor } from './lib/vault/rights.mts'
import { inCluster, inVault } from './lib/vault/setup.mts'

export const installVaultAgent = script({
  id: '09_k3s_08',
  title: "Install the injection of Vault's secrets",
  file: import.meta.filename,
  flags: {
    'vault-token-file': value('FILE', 'a file that holds a token of Vault'),
    secrets: value('FILE', 'passwords, as lines NAME=value; its mode is 0600'),
    remove: instead(value('APP', 'take what Vault knows of this application away, and do nothing else'))
  },
  story: async (run, flags) => {
    const { settings, mode } = run
    if (settings.backends.vault.address === '') return run.note('There is no Vault to get secrets from: backends.vault.address is empty.')
    const file = flags['vault-token-file']
    if (flags.remove !== undefined) return removal(run, flags.remove, file)
    const { vault, opens } = await openVault(run, file, rightsFor(settings, []))
    const around = await inCluster(run)
    if (vault === undefined) return run.once([...opens, ...around, injects(run, undefined)])
    const also = [...givenNames(settings), ...monitoringSecrets]
    if (mode === 'runbook') run.note(`\`<${variableOf(databasePassword)}>\` is the password of PostgreSQL's role ${settings.vault.database.user}.`)
    const secrets = await knownSecrets(run, { holders: [], more: givenOf(settings), file: flags.secrets, also })
    await run.once([
      ...opens,
      knowsGiven(run, secrets, { whose: 'Vault', refusal: async () => '' }),
      ...around,
      ...inVault(vault, run, secrets),
      hasCanarySecret(vault, settings),
      ...makesUsers(vault, settings, secrets, canary),
      injects(run, vault)
    ])
  }
})

/** What Vault knows of an application goes. Its secrets stay there. */
const removal = async (run: Run, app: string, tokenFile: string | undefined): Promise<void> => {
  const { settings, kubectl } = run
  refuseUsed(settings, app, vaultApps)
  const { vault, opens } = await openVault(run, tokenFile, rightsToRemove(settings, app))
  if (vault === undefined) return
  await run.once([...opens, ...isRemoved(vault, kubectl, settings, { app, namespace: namespaceOf(app as AppName) })])
  if (run.mode === 'apply') run.note(`Its secrets are still in Vault. To delete them: vault kv metadata delete -mount=${settings.vault.kv} ${app}`)
}

if (import.meta.main) await operate([installVaultAgent], import.meta.filename)
