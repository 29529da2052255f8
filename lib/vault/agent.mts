import { readManifest } from '../cluster/objects.mts'
import { inYaml } from '../cluster/values.mts'
import { vaultUrl, type Settings } from '../input/settings.mts'
import type { Client } from './auth.mts'
import { vaultCa } from './vault.mts'

/** A pod's secrets: the name of each file below /vault/secrets, and the template that the agent writes it from. */
export type Files = Record<string, string>

/** The template for one value of an application's secret in Vault. Not `index`, which writes "<no value>" for a key that is missing. */
export const valueOf = ({ vault: { kv } }: Settings, app: string, key: string): string =>
  `{{ with secret "${kv}/data/${app}" }}{{ .Data.data.${key} }}{{ end }}`

/** The template for a user of PostgreSQL that Vault makes for each pod: its `username`, or its `password`. Both are of one lease. */
export const userOf = ({ vault: { database } }: Settings, app: string, field: 'username' | 'password'): string =>
  `{{ with secret "${database.mount}/creds/${app}" }}{{ .Data.${field} }}{{ end }}`

/**
 * The ConfigMap that the annotation keybuzz.io/vault-agent of an application's pods names: the agent's configuration, the files
 * that must be there before the pod's own containers start, and Vault's CA. There is no secret in it.
 */
export const agentOf = async (settings: Settings, { app, namespace }: Client, files: Files): Promise<string> => {
  const { auth_path: auth, agent: { interval } } = settings.vault
  // In quotes: a heredoc would end each file with a line break, which is no part of a password.
  const templates = await Promise.all(Object.entries(files).map(([file, contents]) =>
    readManifest('08_vault/template.hcl', { FILE: file, CONTENTS: JSON.stringify(contents) })))
  const config = await readManifest('08_vault/agent.hcl', {
    ADDRESS: vaultUrl(settings), AUTH_PATH: `auth/${auth}`, ROLE: app, INTERVAL: `${interval}s`, TEMPLATES: templates.join('\n')
  })
  const data = { 'agent.hcl': config, files: `${Object.keys(files).join('\n')}\n`, 'ca.crt': await vaultCa(settings) }
  return inYaml({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'vault-agent', namespace }, data })
}
