import { isAbort, messageOf } from '../../base/errors.mts'
import { eachUse, inTime, wordsOf, type Means, type UseOf } from './uses.mts'

/** What a Redis says of itself: a field of INFO by its name. */
type Info = Record<string, string>

/** Reads the text of INFO. */
export const infoOf = (text: string): Info =>
  Object.fromEntries([...text.matchAll(/^(\w+):([^\r\n]*)/gm)].map(([, name, value]) => [name!, value!]))

/** What an application misses at a Redis, in words. */
export const faultsOf = ({ queue }: Pick<UseOf<'redis'>, 'queue'>, info: Info): string[] => {
  const policy = info['maxmemory_policy'] ?? 'unknown'
  const master = [info['master_host'], info['master_port']].filter(Boolean).join(':')
  return [
    `= Redis ${info['redis_version'] ?? '?'}, ${info['role'] ?? '?'}, maxmemory-policy ${policy}`,
    ...(info['role'] === 'master' ? []
      : [`this Redis is a replica${master === '' ? '' : ` of ${master}`}, expected the master: HAProxy must check for role:master`]),
    ...(queue && policy !== 'noeviction'
      ? [`maxmemory-policy is ${policy}, a queue needs noeviction: on every Redis, `
        + 'redis-cli CONFIG SET maxmemory-policy noeviction, and the same in redis.conf'] : [])
  ]
}

/** Logs in to Redis for each application, and tells in words what it would miss: password, master, policy, database. */
export const redisTakes = async (means: Means): Promise<string> => {
  const { settings: { backends: { redis: { address: host, port } } }, signal, of } = means
  const lines = await eachUse(means, 'redis', ({ password }) => [password], async (use) => {
    try {
      return await inTime(signal, async (closing) => {
        const { createClient } = await import('@redis/client')
        // With protocol 2 it says AUTH, as the applications do, and needs nothing that came with Redis 6.
        const client = createClient({ RESP: 2, password: of(use.password), socket: { host, port, reconnectStrategy: false } })
        client.on('error', () => {}) // connect() and the commands fail with it
        closing(() => client.destroy())
        await client.connect()
        const info = infoOf(await client.sendCommand<string>(['INFO']))
        const faults = faultsOf(use, info)
        const range = await client.sendCommand(['SELECT', String(use.database)]).then(() => [], (error: unknown) => [messageOf(error)])
        return range.length === 0 ? faults
          : [...faults, `database ${use.database} cannot be selected (${range.join('')}): raise "databases" in redis.conf`]
      })
    } catch (error) {
      if (isAbort(error)) throw error
      return [wordsOf(`Redis ${host}:${port}`, error, (message) => {
        if (message.startsWith('WRONGPASS')) return `Redis does not accept the password (${use.password})`
        if (message.includes('without any password configured')) {
          return 'Redis has no password, and whoever reaches it may read all: set requirepass'
        }
        return /^[A-Z]+ /.test(message) ? `Redis says: ${message}` : undefined
      })]
    }
  })
  return lines.join('\n')
}
