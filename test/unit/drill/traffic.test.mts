import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer as createHttpServer } from 'node:http'
import { createServer, type Server } from 'node:https'
import type { AddressInfo, Server as NetServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { mock } from 'node:test'
import { suite, test } from 'uvu'
import * as assert from 'uvu/assert'
import { apiEndpoint, httpEndpoints, startTraffic, type Endpoint } from '../../../lib/drill/traffic.mts'
import { defaultSettings } from '../../../lib/input/settings.mts'
import { fakeKubectl } from '../../support/fake-kubectl.mts'

const endpoint = (ask: () => Promise<string>, name = 'the API', kind: Endpoint['kind'] = 'api'): Endpoint => ({ name, kind, ask })
const never = (): Promise<string> => new Promise(() => {})
const after = (milliseconds: number): Promise<string> => new Promise((resolve) => setTimeout(() => resolve(''), milliseconds))

const paced = suite('with a clock of its own')
/** Milliseconds by which timers come too late: the computer is busy. */
let late = 0
paced.before.each(() => {
  late = 0
  mock.timers.enable({ apis: ['setTimeout', 'Date'] })
  mock.method(performance, 'now', () => Date.now() + late)
})
paced.after.each(() => {
  mock.timers.reset()
  mock.restoreAll()
})
const pass = async (milliseconds: number): Promise<void> => {
  for (let passed = 0; passed < milliseconds; passed++) {
    mock.timers.tick(1)
    await new Promise(setImmediate) // what waits for an answer goes on
  }
}

paced('requests are sent at a fixed rate, whether the ones before were answered or not', async () => {
  const traffic = startTraffic([endpoint(() => after(200))], { interval: 20 })
  await pass(490)
  traffic.stop()
  await pass(200)
  await traffic.settle()
  assert.equal(traffic.samples('api').map(({ sent, ended }) => [sent, ended]),
    Array.from({ length: 25 }, (_, index) => [index * 20, index * 20 + 200]))
})

paced('no more than 25 requests to an endpoint are under way', async () => {
  let open = 0
  const traffic = startTraffic([endpoint(() => (open++, never()))], { interval: 5 })
  await pass(1000)
  traffic.stop()
  assert.is(open, 25)
})

paced('a computer that is busy leaves requests out, and does not send them all at once afterwards', async () => {
  const sent: number[] = []
  const traffic = startTraffic([endpoint(async () => (sent.push(performance.now()), ''))], { interval: 20 })
  await pass(50)
  late = 305
  await pass(50)
  traffic.stop()
  assert.equal(sent, [0, 20, 40, 365, 380, 400])
})

paced('what does not answer well is told, by endpoint', async () => {
  let why = ''
  const traffic = startTraffic([
    endpoint(async () => why),
    endpoint(async () => '', 'HTTP through 10.0.0.5', 'http'),
    endpoint(never, 'HTTP through 10.0.0.6', 'http')
  ], { interval: 50, slow: 500 })
  await pass(625)
  assert.equal(traffic.troubles(5), ['HTTP through 10.0.0.6: 3 of the last 3 requests failed (no answer within 500 ms)'])
  assert.equal(traffic.silent(5), ['HTTP through 10.0.0.6'])
  why = 'connection refused'
  await pass(75)
  traffic.stop()
  assert.is(traffic.troubles(0.2)[0], 'the API: 2 of the last 5 requests failed (connection refused)')
  assert.is(traffic.samples('http').length, traffic.samples('api').length)
  await pass(150)
  assert.equal(traffic.silent(0.1), ['the API', 'HTTP through 10.0.0.5', 'HTTP through 10.0.0.6'])
})

paced.run()

const folder = mkdtempSync(join(tmpdir(), 'keybuzz-traffic-'))
test.after(() => rmSync(folder, { recursive: true }))
const read = (name: string): Buffer => readFileSync(join(folder, name))
const openssl = (...args: string[]): void => void execFileSync('openssl', args, { cwd: folder, stdio: 'ignore' })
const certificate = (name: string, extension: string): void => {
  openssl('req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', `/CN=${name}`)
  writeFileSync(join(folder, `${name}.ext`), extension)
  openssl('x509', '-req', '-in', `${name}.csr`, '-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial', '-out', `${name}.crt`, '-days', '2', '-extfile', `${name}.ext`)
}
openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', 'ca.key', '-out', 'ca.crt', '-days', '2', '-subj', '/CN=ca')
certificate('server', 'subjectAltName=IP:127.0.0.1')
certificate('admin', '')
certificate('stranger', 'subjectAltName=IP:127.0.0.1')

const listen = async (server: NetServer): Promise<number> => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return (server.address() as AddressInfo).port
}
const settingsFor = (port: number) => {
  const settings = defaultSettings()
  return { ...settings, load_balancers: { ...settings.load_balancers, api: { address: '127.0.0.1', port, names: [] }, http: ['127.0.0.1'] } }
}
const base64 = (name: string): string => read(name).toString('base64')
const config = JSON.stringify({
  clusters: [{ cluster: { 'certificate-authority-data': base64('ca.crt') } }],
  users: [{ user: { 'client-certificate-data': base64('admin.crt'), 'client-key-data': base64('admin.key') } }]
})
const asked: string[] = []
const kubectl = fakeKubectl((command) => (asked.push(command), config))
const apiOn = (port: number, timeout?: number): Promise<Endpoint> => apiEndpoint(settingsFor(port), kubectl, timeout)

let answer = 200
let connections = 0
const paths: string[] = []
const api: Server = createServer(
  { cert: read('server.crt'), key: read('server.key'), ca: read('ca.crt'), requestCert: true, rejectUnauthorized: true },
  (request, response) => {
    paths.push(`${request.method} ${request.url}`)
    if (answer > 0) response.writeHead(answer).end('{}')
  }
).on('secureConnection', () => connections++)
const apiPort = await listen(api)
test.after(() => { api.closeAllConnections(); api.close() })

test('the API is asked with the certificate of the kubeconfig, over a connection of its own each time', async () => {
  const api = await apiOn(apiPort)
  assert.is(asked.at(-1), 'config view --raw --flatten --minify -o json')
  for (let times = 0; times < 3; times++) assert.is(await api.ask(), '')
  assert.is(connections, 3)
  assert.equal(new Set(paths), new Set(['GET /api/v1/namespaces/default']))
})

test('an API that answers otherwise, hangs, or is not there has failed', async () => {
  const api = await apiOn(apiPort, 300)
  answer = 503
  assert.is(await api.ask(), 'HTTP 503')
  answer = 0
  assert.is(await api.ask(), 'no answer within 300 ms')
  answer = 200
  const closed = createHttpServer()
  const port = await listen(closed)
  await new Promise((resolve) => closed.close(resolve))
  assert.is(await (await apiOn(port)).ask(), 'connection refused')
})

test('a server that the cluster has not certified is not believed', async () => {
  openssl('req', '-x509', '-key', 'stranger.key', '-out', 'own.crt', '-days', '2', '-subj', '/CN=x', '-addext', 'subjectAltName=IP:127.0.0.1')
  const stranger = createServer({ cert: read('own.crt'), key: read('stranger.key') }, (_, response) => response.end('{}'))
  const port = await listen(stranger)
  assert.match(await (await apiOn(port)).ask(), /self-signed/)
  stranger.close()
})

test('HTTP is asked for the canary by name, at each load balancer', async () => {
  const seen: string[] = []
  let status = 200
  const balancer = createHttpServer((request, response) => {
    seen.push(`${request.headers.host} ${request.url}`)
    response.writeHead(status).end('k3s-worker-01')
  })
  const port = await listen(balancer)
  const [http] = httpEndpoints(settingsFor(1), 'canary.test', { port })
  assert.is(http!.name, 'HTTP through 127.0.0.1')
  assert.is(await http!.ask(), '')
  status = 502
  assert.is(await http!.ask(), 'HTTP 502')
  assert.equal(seen, ['canary.test /name', 'canary.test /name'])
  balancer.close()
  balancer.closeAllConnections()
  assert.is(await http!.ask(), 'connection refused')
})

test.run()
