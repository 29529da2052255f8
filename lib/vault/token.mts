import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { homeFolder } from '../base/environment.mts'
import { isMissing } from '../base/errors.mts'
import { givenSecret, Secret } from '../input/secrets.mts'
import { hasTerminal } from '../run/confirm.mts'
import type { Run } from '../run/run.mts'
import type { ClusterStep } from '../run/step.mts'

/** Where Vault's own CLI keeps a token after `vault login`. */
const ofCli = join(homeFolder(), '.vault-token')

/**
 * The token that Vault is set up with: from the file of --vault-token-file, else VAULT_TOKEN, else what `vault login` has left, else
 * an apply asks at the terminal. It is used for this run, and never kept. A plan and a validation ask nothing, and may have
 * none. Throws a UsageError where an apply has no terminal to ask at.
 */
export const knownToken = async ({ mode }: Pick<Run, 'mode'>, file: string | undefined): Promise<Secret | undefined> => {
  if (mode === 'runbook') return Secret.named('<VAULT_TOKEN>')
  const isGiven = file !== undefined || Boolean(process.env['VAULT_TOKEN']?.trim())
  if (!isGiven) {
    const left = await readFile(ofCli, 'utf8').catch((error: unknown) => {
      if (isMissing(error)) return ''
      throw error
    })
    if (left.trim() !== '') return new Secret(left.trim())
    if (mode === 'validate' || (mode === 'plan' && hasTerminal())) return undefined
  }
  return givenSecret('token of Vault (docs/vault.md says what it must be allowed to do)', { flag: '--vault-token-file', file, variable: 'VAULT_TOKEN' })
}

/** The step that a token is known: in a plan at a terminal it is not yet. */
export const knowsToken = (token: Secret | undefined): ClusterStep => ({
  name: 'knows a token of Vault',
  check: async () => (token ? '' : 'an apply asks at the terminal, or takes --vault-token-file, VAULT_TOKEN, or what `vault login` has left'),
  look: 'vault token lookup',
  change: async () => {},
  byHand: 'vault login'
})
