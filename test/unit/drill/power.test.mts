// Against answers as Hetzner gives them, replayed by a server on 127.0.0.1.
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { hetznerPower } from '../../../lib/drill/power.mts'
import type { Host } from '../../../lib/input/inventory.mts'

const fixture = (name: string): string => readFileSync(join(import.meta.dirname, '../../fixtures/hetzner', name), 'utf8')
const requests: string[] = []
const server = createServer((request, response) => {
  requests.push(`${request.method} ${request.url}`)
  assert.is(request.headers.authorization, 'Bearer t0ken-of-a-test')
  response.setHeader('content-type', 'application/json')
  if (request.url!.startsWith('/servers?')) return void response.end(fixture('servers.json'))
  response.end(JSON.stringify({ action: { id: 1, status: 'success', error: null } }))
})
server.listen(0, '127.0.0.1').unref()
await once(server, 'listening')
test.after(() => { server.closeAllConnections(); server.close() })

const { servers } = JSON.parse(fixture('servers.json')) as { servers: { id: number; private_net: { ip: string }[] }[] }
const { id, private_net: [net] } = servers.find(({ private_net: nets }) => nets.length > 0)!
const host: Host = {
  name: 'x', address: net!.ip, publicAddress: '', user: 'root', fqdn: '', role: 'agent', stack: '', pool: 'general', line: 2
}
const powerOf = (token: string | undefined, signal: AbortSignal) => {
  if (token === undefined) delete process.env['HCLOUD_TOKEN']
  else process.env['HCLOUD_TOKEN'] = token
  return hetznerPower({ signal, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, backoff: 4, deadline: 2 })
}

test('without a token there is no power control', () => {
  const { signal } = new AbortController()
  assert.is(powerOf(undefined, signal), undefined)
  assert.is(powerOf(' \n', signal), undefined)
})

test('the machine that has the private address is switched off and on', async () => {
  const power = powerOf('t0ken-of-a-test\n', new AbortController().signal)!
  await power.off(host)
  await power.on(host)
  const actions = requests.filter((request) => request.startsWith('POST'))
  assert.equal(actions, [`POST /servers/${id}/actions/poweroff`, `POST /servers/${id}/actions/poweron`])
})

test('an interruption ends switching off, and never switching on', async () => {
  const interrupt = new AbortController()
  interrupt.abort()
  const power = powerOf('t0ken-of-a-test', interrupt.signal)!
  requests.length = 0
  assert.is(await power.off(host).then(() => 'off', (error: Error) => error.name), 'AbortError')
  assert.equal(requests, [])
  await power.on(host)
  assert.is(requests.at(-1), `POST /servers/${id}/actions/poweron`)
})

test.run()
