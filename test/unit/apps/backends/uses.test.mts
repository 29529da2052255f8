import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { eachUse, inTime, usesOf, wordsOf } from '../../../../lib/apps/backends/uses.mts'
import type { Use } from '../../../../lib/apps/app.mts'
import { meansOf } from '../../../support/uses.mts'

const redis = (database: number, password = 'redis-password'): Use => ({ backend: 'redis', database, password, queue: false })
const means = meansOf({ api: redis(0), n8n: redis(2), chatwoot: { backend: 'smtp', password: 'smtp-password' } }, 'redis', 1)

test('the uses of one backend, by application', () => {
  assert.equal(usesOf(means.apps, 'redis').map(({ app, use }) => `${app} ${use.database}`), ['api 0', 'n8n 2'])
  assert.equal(usesOf(means.apps, 'minio'), [])
})

test('what is true of several applications is one line with their names, and evidence stays evidence', async () => {
  const lines = await eachUse(means, 'redis', () => [], async ({ database }) => ['= Redis 7', 'is a replica', ...(database === 2 ? ['evicts keys'] : [])])
  assert.equal(lines, ['= api, n8n: Redis 7', 'api, n8n: is a replica', 'n8n: evicts keys'])
})

test('for a secret that is not known nobody is visited, and an empty one is not known', async () => {
  const visited: number[] = []
  const some = meansOf({ api: redis(0, 'unknown'), n8n: redis(2), front: redis(3, '') }, 'redis', 1)
  const lines = await eachUse(some, 'redis', ({ password }) => [password], async ({ database }) => (visited.push(database), []))
  assert.equal(lines, ['api: not known yet: unknown', 'front: not known yet: '])
  assert.equal(visited, [2])
})

const failing = (message: string, code?: string): Error => Object.assign(new Error(message), code === undefined ? {} : { code })
const words = (error: unknown): string => wordsOf('Redis 10.0.0.10:6379', error, (message) => (message === 'WRONGPASS' ? 'wrong password' : undefined))

test('an error in words: of the protocol, of the connection, or its own', () => {
  assert.is(words(failing('WRONGPASS')), 'wrong password')
  assert.is(words(failing('connect ECONNREFUSED', 'ECONNREFUSED')), 'Redis 10.0.0.10:6379 refuses the connection: is it started, and is this its port?')
  assert.is(words(failing('connect', 'EHOSTUNREACH')), 'Redis 10.0.0.10:6379 cannot be reached: is this its address, and is it on?')
  assert.is(words(failing('odd \u001b thing\nand more')), 'Redis 10.0.0.10:6379 fails: odd ? thing')
  for (const late of [failing('late', 'ETIMEDOUT'), failing('Connection timeout')]) assert.match(words(late), /does not answer: is its firewall open/)
  for (const message of ['Connection terminated unexpectedly', 'Socket closed unexpectedly', 'socket closed unexpectedly by server', 'socket hang up']) {
    assert.match(words(failing(message, 'CONN_CLOSE')), /hangs up: is any server up behind its load balancer/)
  }
})

test('what was opened is closed: at the end, after a failure, and on an interruption', async () => {
  const closed: string[] = []
  const { signal } = new AbortController()
  assert.is(await inTime(signal, async (closing) => (closing(() => closed.push('a')), 7)), 7)
  await inTime(signal, async (closing) => { closing(() => closed.push('b')); throw new Error('no') }).catch(() => {})
  const interrupt = new AbortController()
  const hanging = inTime(interrupt.signal, (closing) => (closing(() => closed.push('c')), new Promise<never>(() => {})))
  interrupt.abort()
  await hanging.then(() => assert.unreachable(), (error: Error) => assert.is(error.name, 'AbortError'))
  assert.equal(closed, ['a', 'b', 'c'])
  await inTime(interrupt.signal, async () => assert.unreachable()).then(() => assert.unreachable(), (error: Error) => assert.is(error.name, 'AbortError'))
})

test.run()
