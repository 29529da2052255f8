import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { createInPostgres, createInPostgresByHand, verifierOf } from '../../../../lib/apps/backends/create-postgres.mts'
import type { UseOf } from '../../../../lib/apps/backends/uses.mts'
import { fakePostgres } from '../../../support/fake-postgres.mts'
import { unreadable } from '../../../support/node-shell.mts'
import { withServer } from '../../../support/servers.mts'
import { meansOf } from '../../../support/uses.mts'

const use: UseOf<'postgres'> = {
  backend: 'postgres', database: 'chat', user: 'chatwoot', password: 'chat-password', extensions: ['vector'], least: 13, supported: 13, connections: 1
}

// What is done where `there` matches the queries whose answer is yes. Left out: the questions.
const done = async (there: RegExp): Promise<string[]> => {
  const said: string[] = []
  await withServer((socket) => fakePostgres({
    login: ({ user, database }, password) => (said.push(`${user} ${password} in ${database}`), undefined),
    row: (sql) => {
      const text = sql.replaceAll('\0', '')
      if (!text.startsWith('SELECT')) said.push(text.replace(/SCRAM-SHA-256\$4096:[\w+/=]{24}\$[\w+/=]{44}:[\w+/=]{44}/, 'VERIFIER'))
      return there.test(text) ? { one: 1 } : undefined
    }
  })(socket), (port) => createInPostgres(meansOf({ chatwoot: use }, 'postgres', port), 'admin-password'))
  return said
}

const admin = 'postgres admin-password in'
const extension = [`${admin} chat`, 'CREATE EXTENSION IF NOT EXISTS "vector"']

test('what is missing is made, without the password in a statement', async () => {
  assert.equal(await done(/rolsuper/), [
    `${admin} postgres`, `CREATE ROLE "chatwoot" LOGIN PASSWORD 'VERIFIER'`, 'CREATE DATABASE "chat" OWNER "chatwoot"', ...extension
  ])
})

test('what is there stays as it is', async () => {
  assert.equal(await done(/pg_roles|pg_database/), [`${admin} postgres`, ...extension])
})

test('an admin that is no superuser takes the role first', async () => {
  assert.equal((await done(/pg_roles WHERE rolname = \$1$/)).slice(1, 3), ['GRANT "chatwoot" TO CURRENT_USER', 'CREATE DATABASE "chat" OWNER "chatwoot"'])
})

test('a refusal names the admin, and no password', async () => {
  const refuse = fakePostgres({ login: () => ({ code: '28P01', message: 'password authentication failed for user "postgres"' }), row: () => undefined })
  await withServer(refuse, (port) => createInPostgres(meansOf({ chatwoot: use }, 'postgres', port), 'admin-password'))
    .then(() => assert.unreachable(), (error: Error) => assert.is(error.message, 'PostgreSQL does not let role postgres in: its password is another one, or there is no such role'))
})

test("a password's verifier is the one of RFC 7677", () => {
  // Its example has the password "pencil" and this salt; the keys follow from them.
  const text = verifierOf('pencil', Buffer.from('W22ZaJ0SNY7soEsUEjb6gQ==', 'base64'))
  assert.is(text, 'SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=')
  assert.is.not(verifierOf('pencil'), verifierOf('pencil'))
})

test('by hand it is shell that can be read', () => {
  const text = createInPostgresByHand(meansOf({ chatwoot: use }, 'postgres', 5432))
  assert.is(unreadable(text), '')
  assert.match(text, /CREATE DATABASE chat OWNER chatwoot;/)
  assert.match(text, /chat -c 'CREATE EXTENSION IF NOT EXISTS vector'/)
})

test.run()
