import type { Client } from 'pg'
import { dropVariables } from '../../base/environment.mts'
import { isAbort } from '../../base/errors.mts'
import type { Settings } from '../../input/settings.mts'
import type { SecretOf } from '../../secrets/holder.mts'
import { faultsOf, loginWords, sumOf, type Server } from './postgres-faults.mts'
import { eachUse, inTime, type Means, type UseOf } from './uses.mts'

type PostgresUse = UseOf<'postgres'>

/** Who logs in to PostgreSQL, and where to. */
type Login = { user: string; password: string; database: string }

const question = `select current_setting('server_version') as version, current_setting('server_version_num')::int as number,
  pg_is_in_recovery() as recovery, current_setting('transaction_read_only')::bool as read_only,
  current_setting('max_connections')::int as max_connections,
  current_setting('superuser_reserved_connections')::int + coalesce(current_setting('reserved_connections', true), '0')::int as reserved,
  (select rolconnlimit from pg_roles where rolname = current_user) as role_limit,
  (select datconnlimit from pg_database where datname = current_database()) as database_limit,
  current_schema() as schema, coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) as may_create,
  array(select extname::text from pg_extension where extname = any($1::text[])) as extensions,
  array(select name::text from pg_available_extensions where name = any($1::text[])) as available`

/**
 * Logs in, within the time of `inTime`. Nothing of the bastion's environment counts: pg takes what is not given, and what is
 * '', from PG* (its lib/connection-parameters.js), and another implementation where NODE_PG_FORCE_NATIVE is set.
 */
export const connected = async (
  { backends: { postgres: { address, port } } }: Pick<Settings, 'backends'>,
  login: Login,
  closing: (close: () => void) => void
): Promise<Client> => {
  dropVariables(/^(PG[A-Z_]+|NODE_PG_FORCE_NATIVE)$/)
  const { default: { Client } } = await import('pg')
  const client = new Client({ ...login, host: address, port, ssl: false, application_name: 'keybuzz-check' })
  client.on('error', () => {}) // a connection that breaks later fails its query
  // end() says goodbye and waits for the server, which may be gone.
  closing(() => void client.end().catch(() => {}))
  closing(() => setTimeout(() => client.connection.stream.destroy(), 500).unref())
  await client.connect()
  return client
}

// The first two connections of a role have the same server process only where a pooler lends it for a transaction.
const isLent = async (clients: Client[]): Promise<boolean> => {
  const processes: number[] = []
  for (const client of clients) {
    const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid')
    processes.push(...rows.map(({ pid }) => pid))
  }
  return new Set(processes).size < processes.length
}

/**
 * Logs in as each application, and tells in words what it would miss: password, database, primary, version, the right to
 * create tables, extensions, connections. It only reads.
 */
export const postgresTakes = async (means: Means): Promise<string> => {
  const { settings, signal, of } = means
  let seen: Server | undefined
  const lines = await eachUse(means, 'postgres', ({ password }) => [password], async (use) => {
    const { user, database, extensions } = use
    const login = { user, database, password: of(use.password) }
    try {
      return await inTime(signal, async (closing) => {
        const one = await connected(settings, login, closing)
        const { rows: [server] } = await one.query<Server>(question, [extensions])
        seen = server
        const isPooled = await isLent([one, await connected(settings, login, closing)])
        const pooled = 'a pooler lends connections for a transaction only (PgBouncer): expected PostgreSQL itself, or pool_mode = session'
        return [...faultsOf(use, server!), ...(isPooled ? [pooled] : [])]
      })
    } catch (error) {
      if (isAbort(error)) throw error
      return [loginWords(settings, login, error)]
    }
  })
  return [...lines, ...(seen ? [sumOf(means, seen)] : [])].join('\n')
}

/**
 * True where the database of an application has tables, so that its keys may not be made anew. One that is missing has none.
 * Throws in words where the server does not let it in.
 */
export const hasTables = async (settings: Settings, use: Pick<PostgresUse, 'user' | 'database' | 'password'>, of: SecretOf, signal: AbortSignal): Promise<boolean> => {
  const login = { user: use.user, database: use.database, password: of(use.password) }
  try {
    return await inTime(signal, async (closing) => {
      const client = await connected(settings, login, closing)
      const { rows } = await client.query("select 1 from pg_tables where schemaname not in ('pg_catalog', 'information_schema') limit 1")
      return rows.length > 0
    })
  } catch (error) {
    if (isAbort(error)) throw error
    if (error instanceof Error && 'code' in error && error.code === '3D000') return false
    throw new Error(loginWords(settings, login, error))
  }
}

/** Users of PostgreSQL that Vault has made, and their connections to an application's database. */
export type LentUsers = {
  users: number
  /** Seconds until the first of them ends, unless it is renewed; negative after its end. Nothing where there is none. */
  left: number | null
  /** Connections of the application's role itself. */
  own: number
}

// How Vault names them by default: v-kubernetes-... (its database plugin for PostgreSQL, defaultUserNameTemplate).
const lentUsers = `select count(distinct usename) filter (where usename like 'v-%')::int as users,
  extract(epoch from min(rolvaliduntil) filter (where usename like 'v-%') - now())::int as left,
  count(*) filter (where usename = current_user and application_name <> 'keybuzz-check')::int as own
  from pg_stat_activity join pg_roles on rolname = usename where datname = current_database()`

/** Who is logged in to an application's database. It logs in as the application's role, and throws in words where it may not. */
export const readLentUsers = async (settings: Settings, use: PostgresUse, of: SecretOf, signal: AbortSignal): Promise<LentUsers> => {
  const login = { user: use.user, database: use.database, password: of(use.password) }
  try {
    return await inTime(signal, async (closing) => {
      const client = await connected(settings, login, closing)
      const { rows: [row] } = await client.query<LentUsers>(lentUsers)
      return row!
    })
  } catch (error) {
    if (isAbort(error)) throw error
    throw new Error(loginWords(settings, login, error))
  }
}
