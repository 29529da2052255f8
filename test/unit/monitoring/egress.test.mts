import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { egressTo } from '../../../lib/monitoring/egress.mts'

const rules = (...targets: string[]): unknown => JSON.parse(egressTo(targets.map((target) => ({ targets: [target], labels: {} }))))

test('each address is let through once, with all its ports', () => {
  assert.equal(rules('10.0.0.10:5432', '10.0.0.10:6379', '10.0.0.10:5432', '10.0.0.134:9000'), [
    { to: [{ ipBlock: { cidr: '10.0.0.10/32' } }], ports: [{ protocol: 'TCP', port: 5432 }, { protocol: 'TCP', port: 6379 }] },
    { to: [{ ipBlock: { cidr: '10.0.0.134/32' } }], ports: [{ protocol: 'TCP', port: 9000 }] }
  ])
})

test('an address of the web is port 80 or 443, once for all its paths', () => {
  assert.equal(rules('http://10.0.0.5/healthz', 'http://10.0.0.5/', 'http://10.0.0.6:8080/', 'https://10.0.0.150:443/v1/sys/health'), [
    { to: [{ ipBlock: { cidr: '10.0.0.5/32' } }], ports: [{ protocol: 'TCP', port: 80 }] },
    { to: [{ ipBlock: { cidr: '10.0.0.6/32' } }], ports: [{ protocol: 'TCP', port: 8080 }] },
    { to: [{ ipBlock: { cidr: '10.0.0.150/32' } }], ports: [{ protocol: 'TCP', port: 443 }] }
  ])
})

test('nobody is asked: no rule', () => {
  assert.equal(rules(), [])
})

test.run()
