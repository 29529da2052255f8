import { randomUUID } from 'node:crypto'
import type { Connection } from 'rabbitmq-client'
import { isAbort } from '../../base/errors.mts'
import { eachUse, inTime, wordsOf, type Means, type UseOf } from './uses.mts'

/** What RabbitMQ's refusal means, or nothing where it is none. `message` is as "QueueDeclare: ACCESS_REFUSED - access to ...". */
export const refusalOf = ({ user, vhost }: Pick<UseOf<'rabbitmq'>, 'user' | 'vhost'>, message: string): string | undefined => {
  const permissions = `rabbitmqctl set_permissions -p ${vhost} ${user} '.*' '.*' '.*'`
  const [, doing, said] = /^(\w+): ([A-Z_]+ - .*)$/.exec(message) ?? []
  if (said === undefined) return undefined
  if (/Login was refused/.test(said)) {
    return `RabbitMQ does not let user ${user} in: the password is another one, or there is no such user`
  }
  if (/vhost .* not found/.test(said)) return `vhost ${vhost} is missing: rabbitmqctl add_vhost ${vhost}; ${permissions}`
  if (/access to vhost .* refused/.test(said)) return `user ${user} has no permissions in vhost ${vhost}: ${permissions}`
  const right = { QueueDeclare: 'configure', BasicPublish: 'write', BasicGet: 'read' }[doing!]
  if (right && said.startsWith('ACCESS_REFUSED')) return `user ${user} may not ${right} queues in vhost ${vhost}: ${permissions}`
  return `RabbitMQ says: ${said}`
}

/**
 * Logs in as each application, and tells in words what it would miss: password, vhost, the right to make, write and read a
 * queue. The queue belongs to the connection and goes with it, so nothing is left behind.
 */
export const rabbitmqTakes = async (means: Means): Promise<string> => {
  const { settings: { backends: { rabbitmq: { address: hostname, port } } }, signal, of } = means
  const lines = await eachUse(means, 'rabbitmq', ({ password }) => [password], async (use) => {
    const { user: username, vhost } = use
    try {
      return await inTime(signal, async (closing) => {
        const { Connection } = await import('rabbitmq-client')
        const connection = new Connection({ hostname, port, username, password: of(use.password), vhost, heartbeat: 0, connectionTimeout: 0 })
        closing(() => connection.unsafeDestroy())
        // It would try again for ever: its first error is the answer.
        const failed = new Promise<never>((_, reject) => {
          connection.on('error', reject)
          connection.on('connection.blocked', (reason) => reject(new Error(`it takes no messages (${reason}): rabbitmq-diagnostics alarms`)))
        })
        return await Promise.race([failed, canUse(connection, vhost)])
      })
    } catch (error) {
      if (isAbort(error)) throw error
      return [wordsOf(`RabbitMQ ${hostname}:${port}`, error, (message) => refusalOf(use, message))]
    }
  })
  return lines.join('\n')
}

const canUse = async (connection: Connection, vhost: string): Promise<string[]> => {
  const channel = await connection.acquire()
  await channel.confirmSelect()
  const { queue } = await channel.queueDeclare({ queue: `keybuzz-check-${randomUUID()}`, exclusive: true, autoDelete: true })
  await channel.basicPublish(queue, 'check')
  const got = await channel.basicGet({ queue, noAck: true })
  await channel.close()
  await connection.close()
  return [`= RabbitMQ, vhost ${vhost}`, ...(got ? [] : ['a message that was sent is not in its queue'])]
}
