import { readFile } from 'node:fs/promises'
import { messageOf, UsageError } from '../base/errors.mts'
import type { Secret } from '../input/secrets.mts'
import { vaultUrl, type Settings } from '../input/settings.mts'
import { createVault, type Vault } from '../reach/vault.mts'
import type { Run } from '../run/run.mts'
import type { ClusterStep } from '../run/step.mts'

/** The certificates that Vault's own may be signed with; '' for those of the system. Throws a UsageError where the file cannot be read. */
export const vaultCa = async ({ backends: { vault: { ca } } }: Settings): Promise<string> => {
  if (ca === '') return ''
  const text = await readFile(ca, 'utf8').catch((error: unknown) => messageOf(error))
  if (text.includes('-----BEGIN CERTIFICATE-----')) return text
  throw new UsageError([{
    file: 'settings.yaml', what: 'backends.vault.ca', value: ca, expected: 'a file on the bastion with a certificate in PEM form',
    remedy: "Copy the certificate of Vault's CA there."
  }])
}

/** The client of Vault of this run. */
export const vaultOf = async ({ settings, signal }: Pick<Run, 'settings' | 'signal'>, token: Secret | undefined): Promise<Vault> =>
  createVault({ url: vaultUrl(settings), ca: (await vaultCa(settings)) || undefined, token, signal })

/** The step that Vault answers the bastion, and is unsealed. */
export const isUnsealed = (vault: Vault): ClusterStep => ({
  name: 'has a Vault that answers',
  check: () => vault.state(),
  look: 'vault status',
  hint: 'docs/vault.md'
})
