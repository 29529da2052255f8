import { createServer } from 'node:http'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { createInMinio, createInMinioByHand } from '../../../../lib/apps/backends/create-minio.mts'
import type { Use } from '../../../../lib/apps/app.mts'
import { unreadable } from '../../../support/node-shell.mts'
import { withServer } from '../../../support/servers.mts'
import { meansOf } from '../../../support/uses.mts'

const use = (bucket: string): Use => ({ backend: 'minio', bucket, accessKey: 'access', secretKey: 'secret' })
const uses = { api: use('keybuzz'), chatwoot: use('chatwoot') }
const admin = { accessKey: 'admin', secretKey: 'admin-secret' }

const done = async (answer: (method: string, url: string) => number): Promise<string[]> => {
  const said: string[] = []
  await withServer(() => {}, (port) => createInMinio(meansOf(uses, 'minio', port), admin), () => createServer((request, response) => {
    const [method = '', path = ''] = [request.method, request.url?.split('?')[0]]
    said.push(`${method} ${path} ${/Credential=(\w+)/.exec(request.headers.authorization ?? '')?.[1]}`)
    request.resume()
    request.on('end', () => void response.writeHead(answer(method, path)).end(
      answer(method, path) === 403 ? '<Error><Code>AccessDenied</Code><Message>no</Message></Error>' : ''))
  }))
  return said
}

test('only buckets that are missing are made, with the keys of the admin', async () => {
  const said = await done((method, url) => (method === 'HEAD' && url.startsWith('/chatwoot') ? 404 : 200))
  assert.equal(said, ['HEAD /keybuzz admin', 'HEAD /chatwoot admin', 'PUT /chatwoot admin'])
})

test('a refusal in words', async () => {
  await done((method) => (method === 'HEAD' ? 404 : 403))
    .then(() => assert.unreachable(), (error: Error) => assert.is(error.message, 'MinIO says to its admin: AccessDenied, no'))
})

test('by hand it is shell that can be read', () => {
  const text = createInMinioByHand(meansOf(uses, 'minio', 9000))
  assert.is(unreadable(text), '')
  assert.match(text, /mc mb --ignore-existing keybuzz\/chatwoot$/)
})

test.run()
