// Fixtures are answers as the API gives them.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { balancerSchema, balancersOf, serverSchema, type LoadBalancer } from '../../../lib/reach/hetzner-schema.mts'

type Raw = { load_balancers?: Record<string, unknown>[]; servers?: unknown[] }

const fixture = (name: string): Raw => JSON.parse(readFileSync(join(import.meta.dirname, '../../fixtures/hetzner', name), 'utf8')) as Raw

const servers = fixture('servers.json').servers!.map((one) => serverSchema.parse(one))
const pages = ['load-balancers-page-1.json', 'load-balancers-page-2.json'].flatMap((name) => fixture(name).load_balancers!)
const read = (raw: object): LoadBalancer => balancersOf([balancerSchema.parse(raw)], servers)[0]!
const [first, second] = pages.map(read)

test('a service has its check, a null domain means no Host header', () => {
  assert.equal(first?.services[1], {
    protocol: 'https', listenPort: 443, destinationPort: 80, proxyProtocol: false,
    check: {
      protocol: 'http', port: 80, interval: 15, timeout: 10, retries: 3,
      http: { domain: '', path: '/healthz', response: '', statusCodes: ['200'], tls: false }
    }
  })
})

test('targets: servers, an address, and those that a label selector chose', () => {
  assert.equal(first?.targets[0], {
    address: '10.0.0.100', name: 'k3s-master-01', usePrivate: true, selector: '',
    health: [{ port: 80, status: 'healthy' }, { port: 443, status: 'healthy' }]
  })
  assert.equal(first?.targets[7], {
    address: '10.0.0.114', name: '10.0.0.114', usePrivate: false, selector: '',
    health: [{ port: 80, status: 'unhealthy' }, { port: 443, status: 'unhealthy' }]
  })
  assert.equal(second?.targets.map(({ address, selector }) => `${address} ${selector}`).slice(6), [
    '10.0.0.113 role=k3s', '10.0.0.114 role=k3s' // the latter is in another network too
  ])
  assert.equal(second?.emptySelectors, ['role=k8s'])
})

test('a target over the public address, and one whose server is gone', () => {
  const targets = [
    { type: 'server', server: { id: 102 }, use_private_ip: false, label_selector: null },
    { type: 'server', server: { id: 999 }, use_private_ip: true }
  ]
  assert.equal(read({ ...pages[0]!, targets }).targets, [
    { address: '198.51.100.12', name: 'k3s-master-02', usePrivate: false, selector: '', health: [] },
    { address: '', name: 'server 999', usePrivate: true, selector: '', health: [] }
  ])
})

test('addresses in its networks go first; one without a network or a public address has fewer', () => {
  assert.equal(first?.addresses, ['10.0.0.5', '198.51.100.5'])
  assert.equal(read({ ...pages[0]!, private_net: null, public_net: { ipv4: null } }).addresses, [])
})

test('a check in TCP has nothing of HTTP, and an answer without its check is refused', () => {
  const services = pages[0]!['services'] as { health_check: object }[]
  const [service] = services
  const tcp = { ...service!, health_check: { ...service!.health_check, protocol: 'tcp', http: null } }
  const { check } = read({ ...pages[0]!, services: [tcp] }).services[0]!
  assert.equal([check.protocol, 'http' in check], ['tcp', false])
  assert.throws(() => read({ ...pages[0]!, services: [{ ...service!, health_check: null }] }), /health_check/)
})

test.run()
