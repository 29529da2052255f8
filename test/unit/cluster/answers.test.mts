import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TLSSocket } from 'node:tls'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { answersAtItsHost } from '../../../lib/cluster/answers.mts'
import { defaultSettings, type Settings } from '../../../lib/input/settings.mts'

const app = { host: 'n8n.keybuzz.test', answer: { path: '/healthz', body: '"ok"' } }

test('without a load balancer there is nothing to ask', async () => {
  const settings: Settings = { ...defaultSettings(), load_balancers: { ...defaultSettings().load_balancers, http: [] } }
  assert.is(await answersAtItsHost(app, settings).check(), '= the settings have no load balancer')
})

test('each load balancer is asked with the host, and its answer is told in words', async () => {
  // Port 80 of a loopback address: only root may listen there, as CI does.
  const statuses: Record<string, number> = { '127.80.0.1': 200, '127.80.0.2': 503 }
  const servers = await Promise.all(Object.entries(statuses).map(async ([address, status]) => {
    const server = createServer((request, response) => response.writeHead(status).end(`${request.headers.host} "ok" ${request.url}`))
    await new Promise<void>((resolve, reject) => server.once('error', reject).listen(80, address, resolve))
    return server
  }))
  const http = [...Object.keys(statuses), '127.80.0.3']
  const settings: Settings = { ...defaultSettings(), load_balancers: { ...defaultSettings().load_balancers, http } }
  settings.ingress.client_address = 'proxy-protocol'
  const lines = (await answersAtItsHost(app, settings).check()).split('\n')
  for (const server of servers) server.close()
  assert.match(lines[0]!, /^= \/healthz through 127\.80\.0\.1: 200 in [\d.]+ ms$/)
  assert.is(lines[1], '/healthz through 127.80.0.2: status 503: the load balancer has no node that is well, or no pod is ready')
  assert.match(lines[2]!, /^\/healthz through 127\.80\.0\.3: .*(refused|ECONNREFUSED)/)
})

test('where the load balancers end TLS they are asked with it: nginx redirects what came to them without', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'keybuzz-tls-'))
  const [key, cert] = [join(folder, 'key'), join(folder, 'cert')]
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', key, '-out', cert, '-subj', '/CN=lb', '-days', '2'], { stdio: 'ignore' })
  const asked: unknown[] = []
  const server = createTlsServer({ key: readFileSync(key), cert: readFileSync(cert) }, (request, response) => {
    asked.push((request.socket as TLSSocket).servername, request.headers.host)
    response.end('"ok"')
  })
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(443, '127.80.0.4', resolve))
  const settings: Settings = { ...defaultSettings(), load_balancers: { ...defaultSettings().load_balancers, http: ['127.80.0.4'] } }
  const { check, look } = answersAtItsHost(app, settings)
  const said = await check()
  server.close()
  assert.match(said, /^= \/healthz through 127\.80\.0\.4: 200 in/)
  assert.equal(asked, ['n8n.keybuzz.test', 'n8n.keybuzz.test'])
  assert.is(look, 'curl -sSki --connect-to ::127.80.0.4 https://n8n.keybuzz.test/healthz     # 200')
})

test.run()
