import type { Socket } from 'node:net'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { rabbitmqTakes, refusalOf } from '../../../../lib/apps/backends/rabbitmq.mts'
import type { UseOf } from '../../../../lib/apps/backends/uses.mts'
import { closedPort, withServer } from '../../../support/servers.mts'
import { meansOf } from '../../../support/uses.mts'

const use = (more: Partial<UseOf<'rabbitmq'>> = {}): UseOf<'rabbitmq'> => ({ backend: 'rabbitmq', vhost: 'keybuzz', user: 'api', password: 'api-password', ...more })

// A method frame on channel 0 (AMQP 0-9-1, 2.3.5).
const method = (classId: number, id: number, ...fields: Buffer[]): Buffer => {
  const head = Buffer.alloc(11)
  const payload = Buffer.concat(fields)
  head.writeUInt8(1, 0)
  head.writeUInt32BE(4 + payload.length, 3)
  head.writeUInt16BE(classId, 7)
  head.writeUInt16BE(id, 9)
  return Buffer.concat([head, payload, Buffer.from([0xce])])
}
const long = (text: string): Buffer => Buffer.concat([Buffer.from([0, 0, 0, text.length]), Buffer.from(text)])
const start = method(10, 10, Buffer.from([0, 9]), long(''), long('PLAIN'), long('en_US'))
const close = (code: number, text: string, classId: number, id: number): Buffer =>
  method(10, 50, Buffer.from([code >> 8, code & 255, text.length]), Buffer.from(text), Buffer.from([0, classId, 0, id]))

// Greets, and answers the client's next frame.
const greeting = (answer: Buffer) => (socket: Socket): void => {
  socket.once('data', () => {
    socket.write(start)
    socket.once('data', () => void socket.end(answer))
  })
}

test("RabbitMQ's refusals in words, as 3.10 says them", () => {
  const all = "rabbitmqctl set_permissions -p keybuzz api '.*' '.*' '.*'"
  const told: [string, string | undefined][] = [
    ['ConnectionStartOK: ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker logfile.',
      'RabbitMQ does not let user api in: the password is another one, or there is no such user'],
    ['ConnectionOpen: NOT_ALLOWED - vhost keybuzz not found', `vhost keybuzz is missing: rabbitmqctl add_vhost keybuzz; ${all}`],
    ["ConnectionOpen: NOT_ALLOWED - access to vhost 'keybuzz' refused for user 'api'", `user api has no permissions in vhost keybuzz: ${all}`],
    ["QueueDeclare: ACCESS_REFUSED - access to queue 'x' in vhost 'keybuzz' refused for user 'api'", `user api may not configure queues in vhost keybuzz: ${all}`],
    ["BasicPublish: ACCESS_REFUSED - access to exchange 'amq.default' in vhost 'keybuzz' refused for user 'api'", `user api may not write queues in vhost keybuzz: ${all}`],
    ["BasicGet: ACCESS_REFUSED - access to queue 'x' in vhost 'keybuzz' refused for user 'api'", `user api may not read queues in vhost keybuzz: ${all}`],
    ['ConnectionOpen: NOT_ALLOWED - connection limit reached', 'RabbitMQ says: NOT_ALLOWED - connection limit reached'],
    ['socket closed unexpectedly by server', undefined]
  ]
  for (const [message, words] of told) assert.is(refusalOf(use(), message), words)
})

test('a refused login is told, and who is not known is not tried', async () => {
  const text = 'ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker logfile.'
  const words = await withServer(greeting(close(403, text, 10, 11)), (port) =>
    rabbitmqTakes(meansOf({ api: use(), n8n: use({ password: 'unknown' }) }, 'rabbitmq', port)))
  assert.equal(words.split('\n'), [
    'api: RabbitMQ does not let user api in: the password is another one, or there is no such user', 'n8n: not known yet: unknown'
  ])
})

test('nobody there, another protocol version, and a load balancer without a server', async () => {
  const port = await closedPort()
  assert.is(await rabbitmqTakes(meansOf({ api: use() }, 'rabbitmq', port)), `api: RabbitMQ 127.0.0.1:${port} refuses the connection: is it started, and is this its port?`)
  const words = (serve: (socket: Socket) => void): Promise<string> => withServer(serve, (other) => rabbitmqTakes(meansOf({ api: use() }, 'rabbitmq', other)))
  assert.match(await words((socket) => void socket.end()), /^api: RabbitMQ 127\.0\.0\.1:\d+ hangs up: is any server up/)
  assert.match(await words((socket) => void socket.end('AMQP\x00\x01\x00\x00')), /fails: this version of AMQP is not supported/)
})

test.run()
