import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { homeFolder } from '../base/environment.mts'
import { isMissing } from '../base/errors.mts'
import { givenSecret, Secret } from '../input/secrets.mts'
import { hasTerminal } from '../run/confirm.mts'
import type { Run } from '../run/run.mts'
import { type ClusterStep, Refusal } from '../run/step.mts'

/** Where Vault's own CLI keeps a token after `vault login`. */
const ofCli = join(homeFolder(), '.vault-token')

/** `isLeft`: `vault login` has left it, whoever that was, and nobody has named it for this run. */
type Known = { token?: Secret; isLeft: boolean }

/**
 * The token that Vault is set up with: from the file of --vault-token-file, else VAULT_TOKEN, else what `vault login` has left, else
 * an apply asks at the terminal. It is used for this run, and never kept. A plan and a validation ask nothing, and may have
 * none. Throws a UsageError where an apply has no terminal to ask at.
 */
export const knownToken = async ({ mode }: Pick<Run, 'mode'>, file: string | undefined): Promise<Known> => {
  if (mode === 'runbook') return { token: Secret.named('<VAULT_TOKEN>'), isLeft: false }
  const ask = (): Promise<Secret> =>
    givenSecret('token of Vault (docs/vault.md says what it must be allowed to do)', { flag: '--vault-token-file', file, variable: 'VAULT_TOKEN' })
  if (file !== undefined || process.env['VAULT_TOKEN']?.trim()) return { token: await ask(), isLeft: false }
  const left = await readFile(ofCli, 'utf8').catch((error: unknown) => {
    if (isMissing(error)) return ''
    throw error
  })
  if (left.trim() !== '') return { token: new Secret(left.trim()), isLeft: true }
  return mode === 'apply' ? { token: await ask(), isLeft: false } : { isLeft: false }
}

/** The step that a token is known: in a plan it may be asked for later, but only at a terminal. */
export const knowsToken = (token: Secret | undefined): ClusterStep => ({
  name: 'knows a token of Vault',
  check: async () => {
    if (token) return ''
    if (!hasTerminal()) throw new Refusal('there is none: set VAULT_TOKEN, name a file that holds it with --vault-token-file, or run `vault login`')
    return 'an apply asks at the terminal, or takes --vault-token-file, VAULT_TOKEN, or what `vault login` has left'
  },
  look: 'vault token lookup',
  change: async () => {},
  byHand: 'vault login'
})
