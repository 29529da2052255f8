import { createServer } from 'node:http'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { answersAtItsHost } from '../../../lib/apps/answers.mts'
import type { App } from '../../../lib/apps/app.mts'
import { defaultSettings, type Settings } from '../../../lib/input/settings.mts'

const app = { host: 'n8n.keybuzz.test', answer: { path: '/healthz', body: '"ok"' } } as App

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
  const lines = (await answersAtItsHost(app, settings).check()).split('\n')
  for (const server of servers) server.close()
  assert.match(lines[0]!, /^= \/healthz through 127\.80\.0\.1: 200 in \d+ ms$/)
  assert.is(lines[1], '/healthz through 127.80.0.2: status 503: the load balancer has no node that is well, or no pod is ready')
  assert.match(lines[2]!, /^\/healthz through 127\.80\.0\.3: .*(refused|ECONNREFUSED)/)
})

test.run()
