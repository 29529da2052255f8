import type { Settings } from '../input/settings.mts'
import { type Data, type Vault, VaultError } from '../reach/vault.mts'
import type { ClusterStep } from '../run/step.mts'
import { type NamedSecret, ofSecrets, type Secrets, variableOf } from '../secrets/holder.mts'
import type { Client } from './auth.mts'
import { hasData, writeByHand } from './steps.mts'

/** The name of the password of the role that Vault makes other roles with. */
export const databasePassword = 'vault-postgres-password'

/** The secrets that 08 needs. */
export const givenOf = ({ vault: { database } }: Settings): NamedSecret[] =>
  [{ name: databasePassword, what: `password of PostgreSQL's role ${database.user}, with which Vault makes other roles` }]

const givenAnew = `a mistyped password is given anew by ${variableOf(databasePassword)}=... before the command`

const hours = (count: number): number => count * 3600

/** Vault's connection to PostgreSQL. A role counts for the whole server, so one database of it is enough. */
const connection = ({ backends: { postgres }, vault: { database } }: Settings): { path: string; data: Data } => ({
  path: `${database.mount}/config/postgres`,
  data: {
    plugin_name: 'postgresql-database-plugin',
    connection_url: `postgresql://{{username}}:{{password}}@${postgres.address}:${postgres.port}/postgres?sslmode=disable`,
    username: database.user,
    password_authentication: 'scram-sha-256',
    allowed_roles: ['*']
  }
})

/** The step that Vault knows where PostgreSQL is, and as whom it logs in there. */
export const knowsPostgres = (vault: Vault, settings: Settings, secrets: Secrets): ClusterStep => {
  const { path, data } = connection(settings)
  return hasData(vault, {
    name: 'knows PostgreSQL', path, wanted: data, hidden: { value: () => passwordOf(secrets), shown },
    seen: ({ connection_details: details, ...rest }) => ({ ...rest, ...(details as Data) }),
    hint: `${givenAnew}. Or its role ${settings.vault.database.user} may not log in: docs/vault.md says what a DBA gives it`
  })
}

const passwordOf = ({ known }: Secrets): Data => ({ password: ofSecrets(known)(databasePassword) })

const shown = { password: `<${variableOf(databasePassword)}>` }

/** What makes a user: one that acts as the role of its application from its first statement on, where it has one. */
const statementsFor = ({ role }: Client): string[] => [
  `CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'${role === undefined ? '' : ` IN ROLE "${role}"`}`,
  ...(role === undefined ? [] : [`ALTER ROLE "{{name}}" SET role TO '${role}'`])
]

/** The steps that Vault makes users of PostgreSQL for an application, each with a lease. */
export const makesUsers = (vault: Vault, settings: Settings, secrets: Secrets, client: Client): ClusterStep[] => {
  const { database } = settings.vault
  const { path, data } = connection(settings)
  const reset = `${database.mount}/reset/postgres`
  const { app, role } = client
  return [
    hasData(vault, {
      name: `may make users of PostgreSQL for ${app}`,
      path: `${database.mount}/roles/${app}`,
      wanted: {
        db_name: 'postgres',
        creation_statements: statementsFor(client),
        default_ttl: hours(database.hours),
        max_ttl: hours(database.most_hours)
      }
    }),
    {
      name: `makes users of PostgreSQL for ${app}`,
      trial: true,
      check: async () => {
        try {
          // Else it would still be logged in with a password that PostgreSQL no longer takes.
          await vault.write(reset)
          const user = await vault.read(`${database.mount}/creds/${app}`)
          if (user === undefined) return `has no role ${app}`
          await vault.write('sys/leases/revoke', { lease_id: user.lease_id })
          return ''
        } catch (error) {
          if (error instanceof VaultError && error.status >= 500) return error.message
          throw error
        }
      },
      look: `vault write -force ${reset}     # it logs in anew
vault read ${database.mount}/creds/${app}     # a user and a password, with a lease`,
      change: async () => void (await vault.write(path, { ...data, ...passwordOf(secrets) })),
      byHand: writeByHand(path, { ...data, ...shown }),
      hint: `${givenAnew}. Or ${database.user} may not make roles${role === undefined ? '' : ` that are members of ${role}`}: docs/vault.md`
    }
  ]
}
