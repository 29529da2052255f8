import type { Settings } from '../../input/settings.mts'
import { usesOf, wordsOf, type Means, type UseOf } from './uses.mts'

/** What a server says of itself, and of a role in a database. */
export type Server = {
  version: string
  /** 150018 for 15.18. */
  number: number
  recovery: boolean
  read_only: boolean
  max_connections: number
  /** Connections that ordinary roles do not get. */
  reserved: number
  /** Of the role and of the database; -1 is none. */
  role_limit: number
  database_limit: number
  /** null where the role has no schema to create in. */
  schema: string | null
  may_create: boolean
  /** Of those asked for: that are in the database, and that the server could make. */
  extensions: string[]
  available: string[]
}

/** Why a login fails, in words. PostgreSQL says the same of a wrong password and of a role that is missing. */
export const loginWords = (
  { backends: { postgres } }: Pick<Settings, 'backends'>,
  { user, database }: { user: string; database: string },
  error: unknown
): string =>
  wordsOf(`PostgreSQL ${postgres.address}:${postgres.port}`, error, (message, code) => {
    if (message.startsWith('password authentication failed')) {
      return `PostgreSQL does not let role ${user} in: its password is another one, or there is no such role`
    }
    if (code === '3D000') return `database ${database} is missing`
    if (message.includes('pg_hba.conf')) return `PostgreSQL does not let role ${user} into database ${database} from there: ${message}`
    return /^(?=.*\d)[0-9A-Z]{5}$/.test(code) ? `PostgreSQL says: ${message}` : undefined
  })

const packageOf = (extension: string, major: number): string =>
  (extension === 'vector' ? `postgresql-${major}-pgvector (apt.postgresql.org)` : `postgresql-${major} with its contrib modules`)

/** What an application misses at a server, in words. */
export const faultsOf = ({ user, database, least, supported, extensions, connections }: UseOf<'postgres'>, server: Server): string[] => {
  const major = Math.floor(server.number / 10_000)
  const missing = extensions.filter((name) => !server.extensions.includes(name))
  const packages = missing.filter((name) => !server.available.includes(name)).map((name) => packageOf(name, major))
  const install = packages.length > 0 ? `install ${[...new Set(packages)].join(' and ')} on every PostgreSQL server, then ` : ''
  const statements = missing.map((name) => `CREATE EXTENSION IF NOT EXISTS ${name};`).join(' ')
  const lacks = `lacks ${missing.length === 1 ? 'extension' : 'extensions'} ${missing.join(', ')}`
  const where = server.schema === null ? 'any schema' : `schema ${server.schema}`
  const limits = [['role', user, server.role_limit], ['database', database, server.database_limit]] as const
  return [
    `= PostgreSQL ${server.version}${major < supported ? `, supported is ${supported} or later` : ''}`,
    ...(major < least ? [`PostgreSQL ${server.version} is too old, expected ${least} or later`] : []),
    ...(server.recovery ? ['this PostgreSQL is a replica (in recovery), expected the primary: HAProxy must ask Patroni for /primary'] : []),
    ...(server.read_only && !server.recovery ? [`role ${user} may only read (default_transaction_read_only)`] : []),
    ...(server.may_create ? []
      : [`role ${user} may not create tables in ${where} of database ${database}: as a superuser, ALTER DATABASE ${database} OWNER TO ${user}`]),
    ...(missing.length > 0 ? [`database ${database} ${lacks}: ${install}as a superuser in ${database}, ${statements}`] : []),
    ...limits.flatMap(([kind, name, limit]) => (limit >= 0 && limit < connections
      ? [`${kind} ${name} takes ${limit} connections, and up to ${connections} are opened: ALTER ${kind.toUpperCase()} ${name} CONNECTION LIMIT -1`] : []))
  ]
}

/** The connections of all applications against what the server has, in words. */
export const sumOf = (
  { enabled, settings }: Pick<Means, 'enabled' | 'settings'>,
  { max_connections: most, reserved }: Pick<Server, 'max_connections' | 'reserved'>
): string => {
  const spare = settings.backends.spare_connections
  const uses = usesOf(enabled, 'postgres')
  const sum = uses.reduce((total, { use }) => total + use.connections, 0)
  const each = uses.map(({ app, use }) => `${app} ${use.connections}`).join(', ')
  const room = most - reserved
  if (sum + spare <= room) return `= up to ${sum} of ${room} connections (${each})`
  return `${uses.map(({ app }) => app).join(', ')}: open up to ${sum} connections together (${each}), `
    + `and ${spare} are to stay free (backends.spare_connections): expected ${sum + spare}, PostgreSQL has ${room} (max_connections ${most} less ${reserved} reserved). `
    + `Raise max_connections to ${sum + spare + reserved}, or lower replicas and pools in settings.yaml`
}
