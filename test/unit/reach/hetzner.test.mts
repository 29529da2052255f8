// The client against answers as the API gives them, replayed by a server on 127.0.0.1.
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { createHetzner, HetznerError, type HetznerOptions } from '../../../lib/reach/hetzner.mts'
import { Secret } from '../../../lib/input/secrets.mts'
import { eventually } from '../../support/eventually.mts'

type Reply = { status?: number; headers?: Record<string, string>; file?: string; body?: string; broken?: boolean }

const fixture = (name: string): string => readFileSync(join(import.meta.dirname, '../../fixtures/hetzner', name), 'utf8')

const balancers: Record<string, Reply[]> = {
  'GET /load_balancers?page=1&per_page=50': [{ file: 'load-balancers-page-1.json' }],
  'GET /load_balancers?page=2&per_page=50': [{ file: 'load-balancers-page-2.json' }],
  'GET /servers?page=1&per_page=50': [{ file: 'servers.json' }]
}

const send = (response: ServerResponse, { status = 200, headers = {}, file, body = '', broken }: Reply): void => {
  if (broken) return void response.destroy()
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(file ? fixture(file) : body)
}

// Each request is answered by the next reply of its list; the last one stays.
const api = async (replies: Record<string, Reply[]>, options: HetznerOptions = {}) => {
  const left = new Map(Object.entries(replies).map(([request, list]) => [request, [...list]]))
  const requests: string[] = []
  const tokens = new Set<string | undefined>()
  const said: string[] = []
  const server = createServer((request, response) => {
    const name = `${request.method} ${request.url}`
    requests.push(name)
    tokens.add(request.headers.authorization)
    const list = left.get(name) ?? [{ status: 404, body: '{"error":{"code":"not_found","message":"not found"}}' }]
    send(response, list.length > 1 ? list.shift()! : list[0]!)
  })
  server.listen(0, '127.0.0.1').unref()
  await once(server, 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const hetzner = createHetzner(new Secret('t0ken-of-a-test'), {
    url, backoff: 4, deadline: 2, say: (line) => said.push(line.replace(/in [\d.]+ s$/, 'in N s')), ...options
  })
  return { hetzner, requests, tokens, said, url }
}

const failure = async (promise: Promise<unknown>): Promise<HetznerError> => {
  try {
    await promise
  } catch (error) {
    if (error instanceof HetznerError) return error
    throw error
  }
  throw new Error('it did not fail')
}

test('every page is read, with the token, and targets get their servers\' addresses', async () => {
  const { hetzner, requests, tokens } = await api(balancers)
  const all = await hetzner.loadBalancers()
  assert.equal(all.map(({ name, addresses }) => `${name} ${addresses.join(' ')}`), [
    'lb-keybuzz-1 10.0.0.5 198.51.100.5', 'lb-keybuzz-2 10.0.0.6 198.51.100.6'
  ])
  assert.equal(requests.toSorted(), Object.keys(balancers).toSorted())
  assert.equal([...tokens], ['Bearer t0ken-of-a-test'])
})

test('a wrong token is told with what to do, at once and without the token', async () => {
  const list = { 'GET /servers?page=1&per_page=50': [{ status: 401, file: 'refused-unauthorized.json' }] }
  const { hetzner, requests } = await api(list)
  const error = await failure(hetzner.serverAt('10.0.0.100'))
  assert.is(error.status, 401)
  assert.is(error.message, 'Hetzner does not know the token (401 unauthorized: unable to authenticate). It is mistyped, '
    + 'deleted or of another account: make one in the Cloud Console, Security, API tokens; Read is enough to compare')
  assert.is(requests.length, 1)
})

test('a token that may not', async () => {
  const list = { 'GET /servers?page=1&per_page=50': [{ status: 403, file: 'refused-forbidden.json' }] }
  const error = await failure((await api(list)).hetzner.serverAt('10.0.0.100'))
  assert.is(error.message, 'Hetzner refuses /servers?page=1&per_page=50 (403 forbidden: insufficient permissions for this '
    + 'request). It lacks the permission, or the project is locked')
})

test('a token with a line end in it is refused before anything is sent, and not shown', async () => {
  const error = await failure((async () => createHetzner(new Secret('two\nlines')))())
  assert.is(error.message, 'The Hetzner token has characters that no token has: copy it again')
})

test('errors that pass are waited for: the API overloaded, a proxy in between, a broken connection', async () => {
  const { hetzner, said, requests } = await api({
    'GET /servers?page=1&per_page=50': [
      { status: 503, body: '<html>busy</html>' }, { broken: true }, { status: 429, file: 'refused-rate-limit.json' }, { file: 'servers.json' }
    ]
  })
  assert.is((await hetzner.serverAt('10.0.0.114')).name, 'k3s-worker-05')
  assert.is(requests.length, 4)
  assert.equal(said, [
    'Hetzner refuses /servers?page=1&per_page=50 (503); asked again in N s',
    'Hetzner\'s API does not answer (GET /servers?page=1&per_page=50): other side closed; asked again in N s',
    'Hetzner refuses /servers?page=1&per_page=50 (429 rate_limit_exceeded: limit of 3600 requests per hour reached). '
    + 'The project has used up its requests for now; asked again in N s'
  ])
})

test('it waits as long as it is asked to: Retry-After, or until RateLimit-Reset', async () => {
  const soon = String(Math.ceil(Date.now() / 1000) + 1)
  const { hetzner } = await api({
    'GET /servers?page=1&per_page=50': [
      { status: 429, headers: { 'retry-after': '1' } },
      { status: 429, headers: { 'ratelimit-remaining': '0', 'ratelimit-reset': soon } },
      { file: 'servers.json' }
    ]
  }, { deadline: 10 })
  const started = Date.now()
  await hetzner.serverAt('10.0.0.100')
  assert.ok(Date.now() - started >= 1000)
  assert.ok(Date.now() >= Number(soon) * 1000)
})

test('it does not wait beyond its deadline', async () => {
  const hour = String(Math.ceil(Date.now() / 1000) + 3600)
  const limited = await api({
    'GET /servers?page=1&per_page=50': [{ status: 429, headers: { 'ratelimit-remaining': '0', 'ratelimit-reset': hour } }]
  })
  assert.match((await failure(limited.hetzner.serverAt('10.0.0.100'))).message, /used up its requests for now; it asks to wait 3[56]\d\d s$/)
  const broken = await api({ 'GET /servers?page=1&per_page=50': [{ status: 502 }] }, { deadline: 0.1 })
  assert.is((await failure(broken.hetzner.serverAt('10.0.0.100'))).message,
    'Hetzner refuses /servers?page=1&per_page=50 (502); given up after 0.1 s')
})

test('an interrupted run does not go on asking', async () => {
  const stop = new AbortController()
  const { hetzner, requests } = await api({ 'GET /servers?page=1&per_page=50': [{ status: 503 }] }, { deadline: 60, signal: stop.signal })
  const asking = hetzner.serverAt('10.0.0.100').then(() => assert.unreachable(), (error: Error) => error)
  await eventually('it has asked', () => requests.length > 0)
  stop.abort()
  assert.is((await asking as Error).name, 'AbortError')
})

test('answers that are not as expected name the part, and pages that go in circles end', async () => {
  const page = JSON.parse(fixture('load-balancers-page-1.json')) as { load_balancers: { name: unknown }[] }
  page.load_balancers[0]!.name = 7
  const odd = await api({ ...balancers, 'GET /load_balancers?page=1&per_page=50': [{ body: JSON.stringify(page) }] })
  assert.is((await failure(odd.hetzner.loadBalancers())).message, "Hetzner's answer to /load_balancers?page=1&per_page=50 is "
    + 'not as expected: load_balancers.0.name: Invalid input: expected string, received number')
  const html = await api({ 'GET /servers?page=1&per_page=50': [{ body: '<html>' }] })
  assert.is((await failure(html.hetzner.serverAt('10.0.0.100'))).message, 'Hetzner\'s answer to /servers?page=1&per_page=50 is no JSON: "<html>"')
  const circle = '{"servers":[],"meta":{"pagination":{"next_page":1}}}'
  const endless = await api({ 'GET /servers?page=1&per_page=50': [{ body: circle }] })
  assert.is((await failure(endless.hetzner.serverAt('10.0.0.100'))).message,
    "Hetzner's answer to /servers?page=1&per_page=50 names page 1 as the next one")
})

test('a redirect is not followed: the token is for this one address', async () => {
  const { hetzner, requests } = await api({
    'GET /servers?page=1&per_page=50': [{ status: 302, headers: { location: '/elsewhere' } }]
  })
  assert.is((await failure(hetzner.serverAt('10.0.0.100'))).message, 'Hetzner refuses /servers?page=1&per_page=50 (302)')
  assert.equal(requests, ['GET /servers?page=1&per_page=50'])
})

test('a server is found by its private address, and must be the only one', async () => {
  const servers = JSON.parse(fixture('servers.json')) as { servers: { private_net: { ip: string }[] }[] }
  const { hetzner } = await api(balancers)
  assert.equal(await hetzner.serverAt('10.0.0.114'), {
    id: 108, name: 'k3s-worker-05', status: 'running', addresses: ['172.16.0.4', '10.0.0.114']
  })
  assert.is((await failure(hetzner.serverAt('10.0.0.99'))).message,
    'no server of the token\'s project has the private address 10.0.0.99; is the token of another project?')
  servers.servers[1]!.private_net[0]!.ip = '10.0.0.100'
  const twins = await api({ 'GET /servers?page=1&per_page=50': [{ body: JSON.stringify(servers) }] })
  assert.is((await failure(twins.hetzner.serverAt('10.0.0.100'))).message,
    'k3s-master-01 and k3s-master-02 both have the private address 10.0.0.100')
})

const master = { id: 101, name: 'k3s-master-01', status: 'running', addresses: ['10.0.0.100'] }

test('power off is done when Hetzner says so; another action at work is waited for', async () => {
  const { hetzner, requests } = await api({
    'POST /servers/101/actions/poweroff': [{ status: 423, file: 'refused-locked.json' }, { status: 201, file: 'action-running.json' }],
    'GET /actions/5501': [{ file: 'action-running.json' }, { file: 'action-success.json' }]
  })
  await hetzner.powerOff(master)
  assert.equal(requests, [
    'POST /servers/101/actions/poweroff', 'POST /servers/101/actions/poweroff', 'GET /actions/5501', 'GET /actions/5501'
  ])
})

test('power on that fails, that never ends, and with a token that may only read', async () => {
  const failed = await api({
    'POST /servers/101/actions/poweron': [{ status: 201, file: 'action-running.json' }],
    'GET /actions/5501': [{ file: 'action-error.json' }]
  })
  assert.is((await failure(failed.hetzner.powerOn(master))).message, 'Hetzner could not poweron k3s-master-01: Action failed')
  const endless = await api({
    'POST /servers/101/actions/poweron': [{ status: 201, file: 'action-running.json' }],
    'GET /actions/5501': [{ file: 'action-running.json' }]
  }, { deadline: 0.1 })
  assert.is((await failure(endless.hetzner.powerOn(master))).message, 'poweron of k3s-master-01 has not ended after 0.1 s')
  const readonly = await api({ 'POST /servers/101/actions/poweron': [{ status: 403, file: 'refused-token-readonly.json' }] })
  assert.is((await failure(readonly.hetzner.powerOn(master))).message, 'Hetzner refuses /servers/101/actions/poweron '
    + '(403 token_readonly: token is only allowed to perform GET requests). This token may only read: to switch servers off '
    + 'and on it takes one with Read & Write')
})

test.run()
