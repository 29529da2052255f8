import { quote } from 'zx'
import { isAbort, messageOf } from '../base/errors.mts'
import { vaultUrl } from '../input/settings.mts'
import type { Vault } from '../reach/vault.mts'
import type { Run } from '../run/run.mts'
import type { ClusterStep } from '../run/step.mts'
import { mayDoAll, type Right } from './rights.mts'
import { knownToken, knowsToken } from './token.mts'
import { isUnsealed, vaultOf } from './vault.mts'

/** Why a token that `vault login` once left is of no use to a validation, which goes on without one then; else ''. */
const whyNot = async (vault: Vault, rights: Right[]): Promise<string> =>
  mayDoAll(vault, rights).check().catch((error: unknown) => {
    if (isAbort(error)) throw error
    return `of the token that \`vault login\` has left: ${messageOf(error)}`
  })

/**
 * Vault, with the token of this run, and the steps that it can be worked with, with these rights. `vault` is nothing in a
 * validation that has no token of use: then only what the cluster shows can be checked. Throws as `knownToken` does.
 */
export const openVault = async (run: Run, tokenFile: string | undefined, rights: Right[]): Promise<{ vault: Vault | undefined; opens: ClusterStep[] }> => {
  const { token, isLeft } = await knownToken(run, tokenFile)
  const vault = await vaultOf(run, token)
  const { ca } = run.settings.backends.vault
  if (run.mode === 'runbook') run.note(`export VAULT_ADDR=${vaultUrl(run.settings)}${ca === '' ? '' : ` VAULT_CACERT=${quote(ca)}`}`)
  if (run.mode === 'validate') {
    const why = token === undefined ? 'there is no token of it (--vault-token-file, VAULT_TOKEN, `vault login`)' : isLeft ? await whyNot(vault, rights) : ''
    if (why !== '') {
      run.note(`What Vault itself has was not compared: ${why}`)
      return { vault: undefined, opens: [isUnsealed(vault)] }
    }
  }
  return { vault, opens: [isUnsealed(vault), knowsToken(token), mayDoAll(vault, rights)] }
}
