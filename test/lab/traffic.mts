#!/usr/bin/env node
// Runs in the bastion: asks the API, and a canary through both public load balancers, until it is told to end (TERM).
// Then prints as JSON what came of it. Each target is asked every INTERVAL ms (200), over a new connection each time.
// With HOST and PATH an application is asked instead of a canary.
//   node test/lab/traffic.mts [INTERVAL [HOST PATH]]
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { tally } from '../../lib/drill/outage.mts'
import { withCanary } from '../../lib/ingress/ingress.mts'
import { createKubectl } from '../../lib/reach/kubectl.mts'
import { apiEndpoint, httpEndpoints, startTraffic, type Endpoint } from '../../lib/drill/traffic.mts'
import { contextOf, readSettings } from '../../lib/input/settings.mts'

const interrupt = new AbortController()
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => interrupt.abort())
const { signal } = interrupt

const settings = await readSettings(join(import.meta.dirname, '../../settings.yaml'))
const k3s = join(settings.k3s.artifacts, 'k3s')
const kubectl = createKubectl({ k3s: async () => k3s, context: contextOf(settings), servers: [], signal, say: () => {} })
const [, , interval = '200', app, path] = process.argv

const ask = async (http: Endpoint[]): Promise<void> => {
  const wellFor = async (times: number): Promise<void> => {
    for (let time = 0; time < times && !signal.aborted; time++) {
      const answers = await Promise.all(http.map(({ ask }) => ask()))
      if (answers.some((why) => why !== '')) time = 0
      await sleep(100)
    }
  }
  await wellFor(20) // every node's controller takes the canary up by itself
  const from = performance.now()
  const traffic = startTraffic([await apiEndpoint(settings, kubectl), ...http], { interval: Number(interval) })
  console.error('begun')
  while (!signal.aborted) await sleep(50)
  await traffic.settle()
  traffic.stop()
  const window = { from, to: performance.now() }
  const failedAt = traffic.samples('http').filter(({ why }) => why !== '').map(({ sent }) => Math.round(sent - from)).toSorted((a, b) => a - b)
  console.log(JSON.stringify({ api: tally(traffic.samples('api'), window), http: tally(traffic.samples('http'), window), failedAt }))
}

if (app && path) await ask(httpEndpoints(settings, app, { path }))
else await withCanary({ kubectl, signal, name: 'traffic' }, async (canary) => ask(httpEndpoints(settings, canary)))
