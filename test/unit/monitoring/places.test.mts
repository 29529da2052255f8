import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { renderFault } from '../../../lib/base/errors.mts'
import type { Host } from '../../../lib/input/inventory.mts'
import { defaultSettings } from '../../../lib/input/settings.mts'
import { tooFewNodes } from '../../../lib/monitoring/places.mts'

const node = (name: string, pool: string): Host =>
  ({ name, address: '10.0.0.1', publicAddress: '', user: 'root', fqdn: '', role: 'agent', stack: 'k3s-node', pool, line: 2 })
const told = (hosts: Host[], settings = defaultSettings()): string => tooFewNodes(hosts, settings).map(renderFault).join('\n')

test('a node for each replica is enough', () => {
  assert.is(told([node('a', 'observability'), node('b', 'reserve'), node('c', 'general')]), '')
})

test('fewer nodes than replicas are told, with what was found', () => {
  assert.is(told([node('a', 'observability'), node('c', 'general')]),
    'settings.yaml monitoring.pools "observability, reserve": expected pools with at least 2 nodes, found a. '
    + 'Name one more pool, such as general: each replica is on a node of its own.')
  assert.match(told([]), 'found none')
})

test('one Prometheus still needs two nodes: there are two Alertmanagers', () => {
  const settings = defaultSettings()
  settings.monitoring.prometheus.replicas = 1
  assert.match(told([node('a', 'observability')], settings), 'at least 2 nodes')
})

test.run()
