import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { renderFault } from '../../../lib/base/errors.mts'
import type { Host, Machine } from '../../../lib/input/inventory.mts'
import { defaultSettings } from '../../../lib/input/settings.mts'
import { faultsOf } from '../../../lib/monitoring/complete.mts'

const hosts = ['observability', 'reserve'].map((pool, index) => ({ name: `k3s-worker-0${index + 4}`, pool }) as Host)
const machine = { name: 'cache-01', address: '10.0.0.124', role: 'cache', subrole: '', stack: '', line: 7 } satisfies Machine

test('all that a monitoring lacks is told at once', () => {
  const settings = defaultSettings()
  const faults = faultsOf(settings, hosts.slice(0, 1), [machine])
  const words = faults.map(renderFault)
  assert.is(words[0], 'settings.yaml monitoring.alerts.tickets: expected somebody who gets messages. Set its webhook, slack or email, and those of pages for what cannot wait.')
  assert.match(words[1]!, /monitoring\.pools "observability, reserve": expected pools with at least 2 nodes, found k3s-worker-04/)
  assert.match(words[2]!, /servers\.tsv:7 ROLE "cache"/)
  settings.monitoring.alerts.pages.slack = '#night'
  assert.is(faultsOf(settings, hosts, []).length, 1, 'who is only told of pages does not hear of tickets')
  settings.monitoring.alerts.tickets.slack = '#alerts'
  assert.equal(faultsOf(settings, hosts, []), [])
})

test.run()
