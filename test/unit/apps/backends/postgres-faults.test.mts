import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { faultsOf, loginWords, sumOf, type Server } from '../../../../lib/apps/backends/postgres-faults.mts'
import type { UseOf } from '../../../../lib/apps/backends/uses.mts'
import { meansOf } from '../../../support/uses.mts'

const use = (more: Partial<UseOf<'postgres'>> = {}): UseOf<'postgres'> => ({
  backend: 'postgres', database: 'chatwoot', user: 'chat', password: 'p', extensions: [], least: 13, supported: 16, connections: 30, ...more
})
const server = (more: Partial<Server> = {}): Server => ({
  version: '17.2', number: 170002, recovery: false, read_only: false, max_connections: 100, reserved: 3, role_limit: -1, database_limit: -1,
  schema: 'public', may_create: true, extensions: [], available: [], ...more
})

test('a server that has all is evidence', () => {
  assert.equal(faultsOf(use(), server({ role_limit: 30, database_limit: 99 })), ['= PostgreSQL 17.2'])
})

test('an older version is told, and one that is too old is a fault', () => {
  const old = { version: '15.18', number: 150018 }
  assert.equal(faultsOf(use(), server(old)), ['= PostgreSQL 15.18, supported is 16 or later'])
  assert.equal(faultsOf(use({ least: 16 }), server(old)).slice(1), ['PostgreSQL 15.18 is too old, expected 16 or later'])
})

test('a replica, a role that may only read, one that may not create, limits', () => {
  const faults = (more: Partial<Server>): string[] => faultsOf(use(), server(more)).slice(1)
  assert.equal(faults({ recovery: true, read_only: true }), ['this PostgreSQL is a replica (in recovery), expected the primary: HAProxy must ask Patroni for /primary'])
  assert.equal(faults({ read_only: true }), ['role chat may only read (default_transaction_read_only)'])
  assert.equal(faults({ may_create: false }), ['role chat may not create tables in schema public of database chatwoot: as a superuser, ALTER DATABASE chatwoot OWNER TO chat'])
  assert.match(faults({ may_create: false, schema: null })[0]!, /^role chat may not create tables in any schema of database chatwoot/)
  assert.equal(faults({ role_limit: 29, database_limit: 0 }), [
    'role chat takes 29 connections, and up to 30 are opened: ALTER ROLE chat CONNECTION LIMIT -1',
    'database chatwoot takes 0 connections, and up to 30 are opened: ALTER DATABASE chatwoot CONNECTION LIMIT -1'
  ])
})

test('missing extensions are told with the statement, and the package of one that the server could not make', () => {
  const wants = use({ extensions: ['plpgsql', 'pg_trgm', 'vector'] })
  assert.equal(faultsOf(wants, server({ extensions: ['plpgsql', 'pg_trgm'], available: ['plpgsql', 'pg_trgm'] })).slice(1), [
    'database chatwoot lacks extension vector: install postgresql-17-pgvector (apt.postgresql.org) on every PostgreSQL server, then as a superuser in chatwoot, CREATE EXTENSION IF NOT EXISTS vector;'
  ])
  assert.equal(faultsOf(wants, server({ extensions: ['plpgsql'], available: ['plpgsql', 'pg_trgm', 'vector'] })).slice(1), [
    'database chatwoot lacks extensions pg_trgm, vector: as a superuser in chatwoot, CREATE EXTENSION IF NOT EXISTS pg_trgm; CREATE EXTENSION IF NOT EXISTS vector;'
  ])
  assert.match(faultsOf(wants, server())[1]!, /install postgresql-17 with its contrib modules and postgresql-17-pgvector/)
})

test('the connections of all applications are summed, also of those that are not deployed now', () => {
  const means = meansOf({ api: use({ connections: 60 }), n8n: use({ connections: 20 }) }, 'postgres', 1)
  means.settings.backends.spare_connections = 17
  assert.is(sumOf({ ...means, apps: [] } as typeof means, server()), '= up to 80 of 97 connections (api 60, n8n 20)')
  means.settings.backends.spare_connections = 18
  assert.is(sumOf(means, server()),
    'api, n8n: open up to 80 connections together (api 60, n8n 20), and 18 are to stay free (backends.spare_connections): '
    + 'expected 98, PostgreSQL has 97 (max_connections 100 less 3 reserved). Raise max_connections to 101, or lower replicas and pools in settings.yaml')
})

test('why a login fails, in words', () => {
  const { settings } = meansOf({}, 'postgres', 5432)
  const words = (message: string, code?: string): string =>
    loginWords(settings, { user: 'n8n', database: 'n8n' }, Object.assign(new Error(message), code === undefined ? {} : { code }))
  const refused = 'PostgreSQL does not let role n8n in: its password is another one, or there is no such role'
  assert.is(words('password authentication failed for user "n8n"', '28P01'), refused)
  assert.is(words('password authentication failed', '08P01'), refused, 'PgBouncer')
  assert.is(words('database "n8n" does not exist', '3D000'), 'database n8n is missing')
  const hba = 'no pg_hba.conf entry for host "10.0.0.2", user "n8n", database "n8n", no encryption'
  assert.is(words(hba, '28000'), `PostgreSQL does not let role n8n into database n8n from there: ${hba}`)
  assert.is(words('sorry, too many clients already', '53300'), 'PostgreSQL says: sorry, too many clients already')
  assert.is(words('write EPIPE', 'EPIPE'), 'PostgreSQL 127.0.0.1:5432 fails: write EPIPE')
})

test.run()
