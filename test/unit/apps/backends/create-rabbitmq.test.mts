import { createServer } from 'node:http'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { createInRabbitmq, createInRabbitmqByHand } from '../../../../lib/apps/backends/create-rabbitmq.mts'
import type { Use } from '../../../../lib/apps/app.mts'
import { unreadable } from '../../../support/node-shell.mts'
import { closedPort, withServer } from '../../../support/servers.mts'
import { meansOf } from '../../../support/uses.mts'

const api: Use = { backend: 'rabbitmq', vhost: 'key/buzz', user: 'api', password: 'api-password' }

const means = (port: number) => {
  const some = meansOf({ api }, 'rabbitmq', 1)
  some.settings.backends.rabbitmq.management_port = port
  return some
}

// A management API that has what `there` matches.
const done = async (there: RegExp, status = 201): Promise<string[]> => {
  const said: string[] = []
  await withServer(() => {}, (port) => createInRabbitmq(means(port), 'admin-password'), () => createServer((request, response) => {
    let body = ''
    request.on('data', (data: Buffer) => (body += data.toString()))
    request.on('end', () => {
      assert.is(request.headers.authorization, `Basic ${Buffer.from('admin:admin-password').toString('base64')}`)
      if (request.method === 'PUT') said.push(`${request.url} ${body}`)
      response.writeHead(request.method === 'PUT' ? status : there.test(request.url ?? '') ? 200 : 404).end('{}')
    })
  }))
  return said
}

test('vhost, user and permissions are made where they are missing', async () => {
  const all = ['/api/vhosts/key%2Fbuzz {}', '/api/users/api {"password":"api-password","tags":""}', '/api/permissions/key%2Fbuzz/api {"configure":".*","write":".*","read":".*"}']
  assert.equal(await done(/nothing/), all)
  assert.equal(await done(/vhosts|users/), all.slice(2), 'the password of a user that is there is not set anew')
})

test('a refusal in words, without a password', async () => {
  const words = (work: Promise<unknown>): Promise<string> => work.then(() => assert.unreachable(), (error: Error) => error.message) as Promise<string>
  assert.match(await words(done(/nothing/, 401)), /^RabbitMQ's management 127\.0\.0\.1:\d+ does not let admin in: its password is another one/)
  assert.match(await words(done(/nothing/, 500)), /answers 500 to vhosts\/key\/buzz$/)
  const port = await closedPort()
  assert.is(await words(createInRabbitmq(means(port), 'x')), `RabbitMQ's management 127.0.0.1:${port} refuses the connection: is it started, and is this its port?`)
})

test('by hand it is shell that can be read', () => {
  const text = createInRabbitmqByHand(means(1))
  assert.is(unreadable(text), '')
  assert.match(text, /rabbitmqctl add_user api\n/)
})

test.run()
