import type { Socket } from 'node:net'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { faultsOf, infoOf, redisTakes } from '../../../../lib/apps/backends/redis.mts'
import type { UseOf } from '../../../../lib/apps/backends/uses.mts'
import { closedPort, withServer } from '../../../support/servers.mts'
import { meansOf } from '../../../support/uses.mts'

const use = (more: Partial<UseOf<'redis'>> = {}): UseOf<'redis'> => ({ backend: 'redis', database: 0, password: 'redis-password', queue: false, ...more })

// As Redis 7.0 says it, shortened.
const text = '# Server\r\nredis_version:7.0.15\r\n# Memory\r\nmaxmemory_policy:noeviction\r\n# Replication\r\nrole:master\r\nmaster_failover_state:no-failover\r\n'

// A Redis that answers each command of a client: [AUTH, password].
const redis = (answers: Record<string, (value: string) => string> = {}) => (socket: Socket): void => {
  let received = ''
  const known: typeof answers = { AUTH: () => '+OK', INFO: () => `$${text.length}\r\n${text}`, SELECT: () => '+OK', ...answers }
  socket.on('data', (data: Buffer) => {
    received += data.toString()
    for (let match; (match = /^\*(\d+)\r\n/.exec(received));) {
      const words = new RegExp(`^\\*\\d+\\r\\n(?:\\$\\d+\\r\\n([^\\r]*)\\r\\n){${match[1]}}`).exec(received)
      if (!words) return
      const parts = words[0].split('\r\n').filter((_, index) => index > 0 && index % 2 === 0)
      received = received.slice(words[0].length)
      socket.write(`${known[parts[0]!]?.(parts[1] ?? '') ?? '+OK'}\r\n`)
    }
  })
}

test('what INFO says, by the name of its field', () => {
  assert.equal(infoOf(text), { redis_version: '7.0.15', maxmemory_policy: 'noeviction', role: 'master', master_failover_state: 'no-failover' })
})

test('a replica, and a policy that throws keys of a queue away', () => {
  const info = infoOf(text)
  assert.equal(faultsOf({ queue: true }, info), ['= Redis 7.0.15, master, maxmemory-policy noeviction'])
  assert.equal(faultsOf({ queue: false }, { ...info, maxmemory_policy: 'allkeys-lru' }).length, 1)
  assert.equal(faultsOf({ queue: true }, { ...info, role: 'slave', master_host: '10.0.0.123', master_port: '6379', maxmemory_policy: 'allkeys-lru' }).slice(1), [
    'this Redis is a replica of 10.0.0.123:6379, expected the master: HAProxy must check for role:master',
    'maxmemory-policy is allkeys-lru, a queue needs noeviction: on every Redis, redis-cli CONFIG SET maxmemory-policy noeviction, and the same in redis.conf'
  ])
})

test('each application logs in and selects its database', async () => {
  const said: string[] = []
  const words = await withServer(redis({
    AUTH: (value) => (said.push(`AUTH ${value}`), '+OK'),
    SELECT: (value) => (said.push(`SELECT ${value}`), value === '99' ? '-ERR DB index is out of range' : '+OK')
  }), (port) => redisTakes(meansOf({ api: use(), n8n: use({ database: 99, queue: true }), front: use({ password: 'unknown' }) }, 'redis', port)))
  assert.equal(words.split('\n'), [
    '= api, n8n: Redis 7.0.15, master, maxmemory-policy noeviction',
    'n8n: database 99 cannot be selected (ERR DB index is out of range): raise "databases" in redis.conf',
    'front: not known yet: unknown'
  ])
  assert.equal(said.toSorted(), ['AUTH redis-password', 'AUTH redis-password', 'SELECT 0', 'SELECT 99'])
})

test('why Redis lets nobody in, in words', async () => {
  const refused = (answers: Parameters<typeof redis>[0]): Promise<string> => withServer(redis(answers), (port) => redisTakes(meansOf({ n8n: use() }, 'redis', port)))
  assert.is(await refused({ AUTH: () => '-WRONGPASS invalid username-password pair or user is disabled.' }), 'n8n: Redis does not accept the password (redis-password)')
  assert.match(await refused({ AUTH: () => '-ERR AUTH <password> called without any password configured for the default user.' }), /^n8n: Redis has no password/)
  assert.is(await refused({ INFO: () => "-NOPERM this user has no permissions to run the 'info' command" }), "n8n: Redis says: NOPERM this user has no permissions to run the 'info' command")
  const port = await closedPort()
  assert.is(await redisTakes(meansOf({ n8n: use() }, 'redis', port)), `n8n: Redis 127.0.0.1:${port} refuses the connection: is it started, and is this its port?`)
  assert.match(await withServer((socket) => void socket.end(), (balancer) => redisTakes(meansOf({ n8n: use() }, 'redis', balancer))), /^n8n: Redis 127\.0\.0\.1:\d+ hangs up/)
})

test.run()
