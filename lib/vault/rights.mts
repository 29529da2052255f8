import type { Settings } from '../input/settings.mts'
import type { Vault } from '../reach/vault.mts'
import { Refusal, type ClusterStep } from '../run/step.mts'
import { policyOf } from './auth.mts'
import { canary } from './canary.mts'

/** A path of Vault, and what must be allowed there. */
export type Right = { path: string; capabilities: string[] }

const write = ['create', 'read', 'update']

/** What the scripts need of their token: 09_k3s_08 for its canary, and 09_k3s_06 for applications besides. */
export const rightsFor = (settings: Settings, apps: string[]): Right[] => {
  const { auth_path: auth, kv, database } = settings.vault
  return [
    { path: 'sys/auth', capabilities: ['read'] },
    { path: `sys/auth/${auth}`, capabilities: ['create', 'update', 'sudo'] },
    { path: `auth/${auth}/config`, capabilities: write },
    { path: 'sys/mounts', capabilities: ['read'] },
    { path: `sys/mounts/${kv}`, capabilities: ['create', 'update'] },
    { path: `sys/mounts/${database.mount}`, capabilities: ['create', 'update'] },
    { path: `${database.mount}/config/postgres`, capabilities: write },
    { path: `${database.mount}/reset/postgres`, capabilities: ['update'] },
    ...[canary.app, ...apps].flatMap((app) => [
      { path: `sys/policies/acl/${policyOf(settings, app)}`, capabilities: write },
      { path: `auth/${auth}/role/${app}`, capabilities: write },
      { path: `${kv}/data/${app}`, capabilities: write },
      { path: `${database.mount}/roles/${app}`, capabilities: write },
      { path: `${database.mount}/creds/${app}`, capabilities: ['read'] }
    ]),
    { path: 'sys/leases/revoke', capabilities: ['update'] }
  ]
}

/** Lines of a policy of Vault that give these rights. */
export const policyLines = (rights: Right[]): string =>
  rights.map(({ path, capabilities }) => `path "${path}" { capabilities = ${JSON.stringify(capabilities)} }`.replaceAll('","', '", "')).join('\n')

/**
 * The step that the token may do all that a run may need, asked before anything is changed. It refuses every change where it
 * may not, with the lines that its policy lacks.
 */
export const mayDoAll = (vault: Vault, rights: Right[]): ClusterStep => ({
  name: 'has a token that may do what is needed',
  check: async () => {
    const { data } = await vault.write('sys/capabilities-self', { paths: rights.map(({ path }) => path) })
    const lacking = rights.flatMap(({ path, capabilities }) => {
      const has = (data[path] ?? []) as string[]
      const missing = has.includes('root') ? [] : capabilities.filter((one) => !has.includes(one))
      return missing.length === 0 ? [] : [{ path, capabilities: missing }]
    })
    if (lacking.length > 0) throw new Refusal(`the token may not do this. Add to its policy, and make a new token (docs/vault.md):\n${policyLines(lacking)}`)
    return ''
  },
  look: `vault token capabilities ${rights[0]!.path}     # and of every path of docs/vault.md's policy`,
  hint: 'is the token right, and has it not expired? vault token lookup'
})
