import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto'
import type { Client } from 'pg'
import { isAbort } from '../../base/errors.mts'
import { connected } from './postgres.mts'
import { loginWords } from './postgres-faults.mts'
import { inTime, usesOf, type Means, type UseOf } from './uses.mts'

/**
 * What PostgreSQL keeps of a password (SCRAM-SHA-256, RFC 5803). A statement with the password itself would stand in the
 * server's log where that logs statements.
 */
export const verifierOf = (password: string, salt = randomBytes(16)): string => {
  const iterations = 4096
  const salted = pbkdf2Sync(password.normalize('NFKC'), salt, iterations, 32, 'sha256')
  const keyOf = (text: string): Buffer => createHmac('sha256', salted).update(text).digest()
  const stored = createHash('sha256').update(keyOf('Client Key')).digest('base64')
  return `SCRAM-SHA-256$${iterations}:${salt.toString('base64')}$${stored}:${keyOf('Server Key').toString('base64')}`
}

/**
 * Makes the role, the database and the extensions of each application that are missing, as the admin of the settings. What is
 * there stays as it is: no password is set anew, no owner changed. Throws in words where the server refuses.
 */
export const createInPostgres = async (means: Means, adminPassword: string): Promise<void> => {
  const { settings, signal, of } = means
  const login = (database: string) => ({ user: settings.backends.postgres.admin, password: adminPassword, database })
  const asAdmin = (database: string, work: (client: Client) => Promise<void>): Promise<void> =>
    inTime(signal, async (closing) => work(await connected(settings, login(database), closing))).catch((error: unknown) => {
      if (isAbort(error)) throw error
      throw new Error(loginWords(settings, login(database), error))
    })
  // One after the other: CREATE DATABASE copies a template that nobody else may use meanwhile.
  for (const { use } of usesOf(means.apps, 'postgres')) {
    await asAdmin('postgres', async (client) => createDatabase(client, use, of(use.password), settings.backends.postgres.admin))
    if (use.extensions.length > 0) {
      await asAdmin(use.database, async (client) => {
        for (const name of use.extensions) await client.query(`CREATE EXTENSION IF NOT EXISTS ${client.escapeIdentifier(name)}`)
      })
    }
  }
}

const createDatabase = async (client: Client, { user, database }: UseOf<'postgres'>, password: string, admin: string): Promise<void> => {
  const [role, name] = [client.escapeIdentifier(user), client.escapeIdentifier(database)]
  const has = async (sql: string, value: string): Promise<boolean> => (await client.query(sql, [value])).rows.length > 0
  if (!await has('SELECT 1 FROM pg_roles WHERE rolname = $1', user)) {
    await client.query(`CREATE ROLE ${role} LOGIN PASSWORD ${client.escapeLiteral(verifierOf(password))}`)
  }
  if (await has('SELECT 1 FROM pg_database WHERE datname = $1', database)) return
  // Who is no superuser may give a database only to a role that it belongs to.
  if (!await has('SELECT 1 FROM pg_roles WHERE rolname = $1 AND rolsuper', admin)) await client.query(`GRANT ${role} TO CURRENT_USER`)
  await client.query(`CREATE DATABASE ${name} OWNER ${role}`)
}

/** The same by hand. */
export const createInPostgresByHand = ({ settings: { backends: { postgres } }, apps }: Means): string => {
  const psql = `psql -h ${postgres.address} -p ${postgres.port} -U ${postgres.admin}`
  return usesOf(apps, 'postgres').map(({ use: { user, database, extensions } }) => `${psql} postgres <<'END'
CREATE ROLE ${user} LOGIN;
CREATE DATABASE ${database} OWNER ${user};
END
${psql} postgres -c '\\password ${user}' # asks for it twice${extensions.map((name) => `
${psql} ${database} -c 'CREATE EXTENSION IF NOT EXISTS ${name}'`).join('')}`).join('\n')
}
