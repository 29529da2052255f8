import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Use } from '../../../../lib/apps/app.mts'
import type { Admins } from '../../../../lib/apps/backends/admins.mts'
import { acceptsApps, hasNoTables, refusalOf, usedDatabase } from '../../../../lib/apps/backends/steps.mts'
import { Secret } from '../../../../lib/input/secrets.mts'
import { fakePostgres } from '../../../support/fake-postgres.mts'
import { closedPort, withServer } from '../../../support/servers.mts'
import { unreadable } from '../../../support/node-shell.mts'
import { meansOf } from '../../../support/uses.mts'

const postgres: Use = { backend: 'postgres', database: 'n8n', user: 'n8n', password: 'n8n-postgres-password', extensions: [], least: 13, supported: 16, connections: 9 }
const redis: Use = { backend: 'redis', database: 2, password: 'redis-password', queue: true }
const rabbitmq: Use = { backend: 'rabbitmq', vhost: 'keybuzz', user: 'api', password: 'api-rabbitmq-password' }
const minio: Use = { backend: 'minio', bucket: 'keybuzz', accessKey: 'api-minio-access-key', secretKey: 'api-minio-secret-key' }

const noAdmin: Admins = new Map()

test('only backends that an application uses are asked, and what is written is a trial', () => {
  const names = (uses: Record<string, Use>): string[] => acceptsApps(meansOf(uses, 'redis', 1), noAdmin).map(({ name, trial }) => `${name}${trial ? ' (trial)' : ''}`)
  assert.equal(names({ n8n: redis }), ['Redis takes the applications'])
  assert.equal(names({ n8n: postgres, api: minio, front: rabbitmq }), [
    'PostgreSQL takes the applications', 'RabbitMQ takes the applications', 'MinIO takes the applications', "MinIO keeps the applications' objects (trial)"
  ])
})

test('no step refuses a plan of other scripts', () => {
  assert.equal(acceptsApps(meansOf({ n8n: redis, api: minio }, 'redis', 1), noAdmin).filter(({ always }) => always), [])
})

test('a database is in use for nobody who cannot ask it: without its password, or where there is none', async () => {
  const means = meansOf({ n8n: postgres }, 'redis', 1)
  const knowing = (...names: string[]) => ({ given: [], known: new Map(names.map((name) => [name, new Secret('hidden')])) })
  assert.is(await usedDatabase(means, { uses: [postgres] }, knowing()), '')
  assert.is(await usedDatabase(means, { uses: [redis] }, knowing('redis-password')), '')
})

test('a database is empty only where it says so itself', async () => {
  const secrets = { given: [], known: new Map([['n8n-postgres-password', new Secret('hidden')]]) }
  const isEmpty = (row: () => { one: number } | undefined, own = secrets): Promise<boolean> =>
    withServer(fakePostgres({ row }), (port) => hasNoTables(meansOf({}, 'postgres', port), { uses: [postgres] }, own))
  assert.is(await isEmpty(() => undefined), true)
  assert.is(await isEmpty(() => ({ one: 1 })), false)
  assert.is(await isEmpty(() => undefined, { given: [], known: new Map() }), false, 'without its password')
  assert.is(await hasNoTables(meansOf({}, 'postgres', await closedPort()), { uses: [postgres] }, secrets), false, 'where it does not answer')
})

test('how to look by hand can be read by a shell, and names the file of the password', () => {
  const steps = acceptsApps(meansOf({ n8n: postgres, api: minio, front: rabbitmq, chatwoot: redis }, 'redis', 1), noAdmin)
  for (const { look } of steps) assert.is(unreadable(look), '')
  const text = steps.map(({ look }) => look).join('\n')
  for (const name of ['n8n-postgres-password', 'redis-password', 'api-rabbitmq-password', 'api-minio-access-key', 'api-minio-secret-key']) {
    assert.match(text, new RegExp(`~/\\.keybuzz/secrets/\\w+-${name}`))
  }
})

test('the check asks the backend', async () => {
  const [step] = acceptsApps(meansOf({ n8n: redis }, 'redis', await closedPort()), noAdmin)
  assert.match(await step!.check(), /^n8n: Redis 127\.0\.0\.1:\d+ refuses the connection/)
})

test('where the settings say so, an apply makes what is missing, as the admin', async () => {
  const means = meansOf({ n8n: postgres, api: minio, front: rabbitmq, chatwoot: redis }, 'postgres', await closedPort())
  assert.equal(acceptsApps(means, noAdmin).filter(({ change }) => change), [])
  means.settings.backends.create = true
  const made = (admins: Admins) => acceptsApps(means, admins).filter(({ change }) => change)
  assert.equal(made(noAdmin).map(({ name }) => name.split(' ')[0]), ['PostgreSQL', 'RabbitMQ', 'MinIO'])
  for (const { byHand } of made(noAdmin)) assert.is(unreadable(byHand!), '')
  const refused = (admins: Admins): Promise<string> => made(admins)[0]!.change!().then(() => assert.unreachable(), (error: Error) => error.message) as Promise<string>
  assert.match(await refused(noAdmin), /^the password of PostgreSQL's admin .* is not known: set KEYBUZZ_POSTGRES_ADMIN_PASSWORD/)
  assert.match(await refused(new Map([['postgres-admin-password', new Secret('x-admin')]])), /refuses the connection/)
})

test('a password that its backend may be about to get is not refused', async () => {
  const means = meansOf({ n8n: postgres }, 'postgres', await closedPort())
  assert.match(await refusalOf(acceptsApps(means, noAdmin)), /refuses the connection/)
  means.settings.backends.create = true
  assert.is(await refusalOf(acceptsApps(means, noAdmin)), '')
})

test.run()
