import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { hasTables, postgresTakes } from '../../../../lib/apps/backends/postgres.mts'
import type { UseOf } from '../../../../lib/apps/backends/uses.mts'
import { fakePostgres, type FakePostgres } from '../../../support/fake-postgres.mts'
import { closedPort, withServer } from '../../../support/servers.mts'
import { meansOf } from '../../../support/uses.mts'

const use = (user: string, more: Partial<UseOf<'postgres'>> = {}): UseOf<'postgres'> => ({
  backend: 'postgres', database: user, user, password: `${user}-password`, extensions: [], least: 13, supported: 16, connections: 10, ...more
})

const wellRow = {
  version: '17.2', number: 170002, recovery: false, read_only: false, max_connections: 100, reserved: 3, role_limit: -1, database_limit: -1,
  schema: 'public', may_create: true, extensions: ['pg_trgm'], available: ['pg_trgm', 'vector']
}
let processes = 0
const server = ({ login, row = wellRow, pid = () => ++processes }: Partial<Pick<FakePostgres, 'login'>> & { row?: Record<string, string | number | boolean | null | string[]>; pid?: () => number } = {}) =>
  fakePostgres({ row: (sql) => (sql.includes('pg_backend_pid') ? { pid: pid() } : row), ...(login ? { login } : {}) })

test('applications that PostgreSQL takes are evidence, as is the sum of their connections', () => withServer(server(), async (port) => {
  assert.is(await postgresTakes(meansOf({ api: use('keybuzz'), chatwoot: use('chat', { extensions: ['pg_trgm'] }) }, 'postgres', port)),
    '= api, chatwoot: PostgreSQL 17.2\n= up to 20 of 97 connections (api 10, chatwoot 10)')
}))

test('every application logs in as itself, with nothing of the PG* variables of the bastion', async () => {
  const said: string[] = []
  const login = (parameters: Record<string, string>, password: string) => {
    said.push(`${JSON.stringify(parameters)} ${password}`)
    return undefined
  }
  const odd = { PGHOST: '192.0.2.9', PGPORT: '1', PGOPTIONS: '-c search_path=odd', PGSSLMODE: 'require', PGPASSWORD: 'odd', PGAPPNAME: 'odd', PGDATABASE: 'odd', PGCLIENT_ENCODING: 'LATIN1', PGREPLICATION: 'true', NODE_PG_FORCE_NATIVE: '1' }
  Object.assign(process.env, odd)
  await withServer(server({ login }), (port) => postgresTakes(meansOf({ n8n: use('n8n') }, 'postgres', port)))
  const expected = `${JSON.stringify({ user: 'n8n', database: 'n8n', application_name: 'keybuzz-check', client_encoding: 'UTF8' })} n8n-password`
  assert.equal(said.map((line) => line.replace(/"client_encoding":"'?utf-?8'?"/i, '"client_encoding":"UTF8"')), [expected, expected])
  assert.is(Object.keys(odd).filter((name) => name in process.env).length, 0)
})

test('all faults of all applications at once, and never a password', async () => {
  const login = ({ user }: Record<string, string>) => (user === 'n8n' ? { code: '28P01', message: 'password authentication failed for user "n8n"' } : undefined)
  const row = { ...wellRow, may_create: false }
  const words = await withServer(server({ login, row }), (port) =>
    postgresTakes(meansOf({ n8n: use('n8n'), chatwoot: use('chat', { extensions: ['vector'] }), superset: use('s', { password: 'unknown' }) }, 'postgres', port)))
  assert.equal(words.split('\n'), [
    'n8n: PostgreSQL does not let role n8n in: its password is another one, or there is no such role',
    '= chatwoot: PostgreSQL 17.2',
    'chatwoot: role chat may not create tables in schema public of database chat: as a superuser, ALTER DATABASE chat OWNER TO chat',
    'chatwoot: database chat lacks extension vector: as a superuser in chat, CREATE EXTENSION IF NOT EXISTS vector;',
    'superset: not known yet: unknown',
    '= up to 30 of 97 connections (n8n 10, chatwoot 10, superset 10)'
  ])
  assert.not.match(words, /-password/)
})

test('two connections with one server process are a pooler that lends it', () => withServer(server({ pid: () => 7 }), async (port) => {
  assert.match(await postgresTakes(meansOf({ n8n: use('n8n') }, 'postgres', port)), /^n8n: a pooler lends connections for a transaction only \(PgBouncer\)/m)
}))

test('nobody there, and a load balancer without a server, are one line', async () => {
  const port = await closedPort()
  assert.is(await postgresTakes(meansOf({ api: use('keybuzz'), n8n: use('n8n') }, 'postgres', port)),
    `api, n8n: PostgreSQL 127.0.0.1:${port} refuses the connection: is it started, and is this its port?`)
  await withServer((socket) => void socket.end(), async (balancer) => {
    assert.match(await postgresTakes(meansOf({ n8n: use('n8n') }, 'postgres', balancer)), /^n8n: PostgreSQL 127\.0\.0\.1:\d+ hangs up: is any server up/)
  })
})

test('a database is used once it has tables, and not where it is missing', async () => {
  const { signal } = new AbortController()
  const has = (fake: FakePostgres): Promise<boolean> => withServer(fakePostgres(fake), (port) => {
    const { settings, of } = meansOf({}, 'postgres', port)
    return hasTables(settings, use('n8n'), of, signal)
  })
  assert.is(await has({ row: () => ({ one: 1 }) }), true)
  assert.is(await has({ row: () => undefined }), false)
  assert.is(await has({ row: () => undefined, login: () => ({ code: '3D000', message: 'database "n8n" does not exist' }) }), false)
  await has({ row: () => undefined, login: () => ({ code: '28P01', message: 'password authentication failed for user "n8n"' }) })
    .then(() => assert.unreachable(), (error: Error) => assert.match(error.message, /^PostgreSQL does not let role n8n in/))
})

test.run()
