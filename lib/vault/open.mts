import type { Vault } from '../reach/vault.mts'
import type { Run } from '../run/run.mts'
import type { ClusterStep } from '../run/step.mts'
import { mayDoAll, type Right } from './rights.mts'
import { knownToken, knowsToken } from './token.mts'
import { isUnsealed, vaultOf } from './vault.mts'

/**
 * Vault, with the token of this run, and the steps that it can be worked with, with these rights. `vault` is nothing in a
 * validation that has no token: then only what the cluster shows can be checked. Throws as `knownToken` does.
 */
export const openVault = async (run: Run, tokenFile: string | undefined, rights: Right[]): Promise<{ vault: Vault | undefined; opens: ClusterStep[] }> => {
  const token = await knownToken(run, tokenFile)
  const vault = await vaultOf(run, token)
  if (run.mode === 'validate' && token === undefined) {
    run.note('What Vault itself has was not compared: there is no token of it (--vault-token-file, VAULT_TOKEN, `vault login`).')
    return { vault: undefined, opens: [isUnsealed(vault)] }
  }
  return { vault, opens: [isUnsealed(vault), knowsToken(token), mayDoAll(vault, rights)] }
}
