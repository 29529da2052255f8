import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { balancerSteps, compareBalancer, compareTarget, ownBalancers } from '../../../lib/ingress/balancers.mts'
import { checkOf, windowOf } from '../../../lib/ingress/check.mts'
import { readInventory, type Host } from '../../../lib/input/inventory.mts'
import { defaultSettings, type Settings } from '../../../lib/input/settings.mts'
import type { LoadBalancer } from '../../../lib/reach/hetzner-schema.mts'

const settingsWith = (ingress: Partial<Settings['ingress']>): Settings => {
  const settings = defaultSettings()
  return { ...settings, ingress: { ...settings.ingress, ...ingress } }
}

const hosts: Host[] = (await readInventory(join(import.meta.dirname, '../../../servers.tsv'))).hosts
const balancer: LoadBalancer = {
  id: 1, name: 'lb-keybuzz-1', addresses: ['10.0.0.5', '198.51.100.5'], emptySelectors: [],
  services: [80, 443].map((listenPort) => ({
    protocol: listenPort === 80 ? 'http' : 'https', listenPort, destinationPort: 80, proxyProtocol: false,
    check: {
      protocol: 'http', port: 80, interval: 15, timeout: 10, retries: 3,
      http: { domain: '', path: '/healthz', response: '', statusCodes: ['200'], tls: false }
    }
  })),
  targets: hosts.map(({ name, address }) => ({
    address, name, usePrivate: true, selector: '', health: [80, 443].map((port) => ({ port, status: 'healthy' }))
  }))
}
const [first] = balancer.services
const withService = (service: object, checks: object = {}): LoadBalancer =>
  ({ ...balancer, services: [{ ...first!, ...service, check: { ...first!.check, ...checks } }] })
const withHttp = (http: object): LoadBalancer => withService({}, { http: { ...first!.check.http, ...http } })
const compare = (one: LoadBalancer, ingress: Partial<Settings['ingress']> = {}): string[] => compareBalancer(one, settingsWith(ingress), hosts)

test('the load balancers of the settings are found by their addresses, and what is missing is told', () => {
  assert.equal(ownBalancers([balancer], ['10.0.0.5', '10.0.0.6']), {
    own: [balancer],
    missing: ["no load balancer has the address 10.0.0.6; the token's project has lb-keybuzz-1 (10.0.0.5, 198.51.100.5)"]
  })
  assert.equal(ownBalancers([], ['10.0.0.6']).missing, ["no load balancer has the address 10.0.0.6; the token's project has none"])
})

test('a load balancer that is configured as the settings say', () => {
  assert.equal(compare(balancer), [])
})

test('each number that differs is told beside its setting', () => {
  assert.equal(compare(withService({}, { interval: 5, timeout: 3, retries: 2 })), [
    'port 80: interval is 5, ingress.health_check.interval says 15',
    'port 80: timeout is 3, ingress.health_check.timeout says 10',
    'port 80: retries is 2, ingress.health_check.retries says 3'
  ])
})

test('what the check asks for', () => {
  assert.equal(compare(withHttp({ path: '/', domain: 'example.com' })), [
    'port 80: the path is /, ingress.health_check.path says /healthz',
    'port 80: the domain is example.com, ingress.health_check.host says none'
  ])
  assert.equal(compare(withHttp({ statusCodes: ['2??', '3??'] })), ['port 80: counts 2??, 3?? as healthy: let it count 200 alone'])
  assert.equal(compare(withHttp({ response: 'ok' })), ['port 80: expects the text "ok" in the answer, which has none: take it out'])
  assert.equal(compare(withHttp({ tls: true })), ["port 80: checks with TLS, and the nodes' port 80 speaks plain HTTP: turn it off"])
  assert.equal(compare(withService({}, { port: 443, protocol: 'tcp', http: undefined })), [
    'port 80: checks port 443: let it check 80',
    'port 80: the check is tcp, which proves an open port only: make it http'
  ])
})

test('how the client\'s address gets to the nodes', () => {
  assert.equal(compare(withService({ proxyProtocol: true })), [
    'port 80: the PROXY protocol is on, ingress.client_address is x-forwarded-for: with one end only every request fails'
  ])
  assert.equal(compare(withService({ protocol: 'tcp' }), { client_address: 'proxy-protocol' }), [
    'port 80: the PROXY protocol is off, ingress.client_address is proxy-protocol: with one end only every request fails'
  ])
  assert.equal(compare(withService({ protocol: 'tcp', proxyProtocol: true }), { client_address: 'proxy-protocol' }), [])
  assert.equal(compare(withService({ protocol: 'tcp' })), [
    "port 80: passes TCP through, so there is no X-Forwarded-For, which ingress.client_address asks for: the clients' addresses are lost"
  ])
  assert.equal(compare(withService({ destinationPort: 443 })), ['port 80: speaks plain HTTP to port 443 of the nodes: send it to 80'])
})

test('services to other ports are none of ours', () => {
  assert.equal(compare({ ...balancer, services: [...balancer.services, { ...first!, listenPort: 25, destinationPort: 25, protocol: 'tcp' }] }), [])
  assert.equal(compare(withService({ destinationPort: 8080 })), ['no service sends to port 80 or 443 of the nodes: add one'])
})

test('targets that are no node, and label selectors that choose none', () => {
  const stranger = { name: 'web-7', address: '10.0.0.77', usePrivate: true, selector: '', health: [] }
  const targets = [
    ...balancer.targets, stranger, { ...stranger, selector: 'role=k3s' }, { ...stranger, address: '', name: 'server 999' },
    { ...stranger, name: '10.0.0.78', address: '10.0.0.78' }
  ]
  assert.equal(compare({ ...balancer, targets, emptySelectors: ['role=k8s'] }), [
    'target web-7 (10.0.0.77) is no node of servers.tsv: take it out',
    'target web-7 (10.0.0.77) is no node of servers.tsv: the label selector role=k3s chooses it',
    'target server 999 is no node of servers.tsv: take it out',
    'target 10.0.0.78 is no node of servers.tsv: take it out',
    "the label selector role=k8s chooses no server: correct it, or the servers' labels"
  ])
})

const host = hosts[0]!
const window = windowOf(checkOf(defaultSettings()))
const target = (status: string, over: object = {}): LoadBalancer => ({
  ...balancer,
  targets: [{ ...balancer.targets[0]!, health: [{ port: 80, status }, { port: 443, status: 'healthy' }, { port: 25, status: 'unhealthy' }], ...over }]
})

test('a node as the load balancers see it', () => {
  assert.equal(compareTarget(host, [balancer, target('healthy')], true, window), {
    differs: [], evidence: ['lb-keybuzz-1: 80 healthy, 443 healthy', 'lb-keybuzz-1: 80 healthy, 443 healthy']
  })
  assert.equal(compareTarget(host, [{ ...balancer, targets: [] }], true, window).differs, ['is no target of lb-keybuzz-1: add it there'])
})

test('a node that the load balancers see otherwise than the bastion', () => {
  const seen = (http: string, https: string, passed: boolean): string[] =>
    compareTarget(host, [target('', { health: [{ port: 80, status: http }, { port: 443, status: https }] })], passed, window).differs
  const back = 'though the check is answered 200 from here: within 45 s it should be taken back; else look at what that one '
    + 'checks, and from which address'
  assert.equal(seen('unhealthy', 'healthy', true), [`is unhealthy on 80 for lb-keybuzz-1, ${back}`])
  assert.equal(seen('unhealthy', 'unhealthy', true), [`is unhealthy on 80 and 443 for lb-keybuzz-1, ${back}`])
  assert.equal(seen('unhealthy', 'unknown', true), [`is unhealthy on 80, unknown on 443 for lb-keybuzz-1, ${back}`])
  assert.equal(seen('unhealthy', 'unhealthy', false), [])
  assert.equal(seen('healthy', 'unhealthy', false), [`is healthy on 80 for lb-keybuzz-1, though the check fails from here: `
    + 'within 75 s it should be let go; else look at what that one checks'])
  const outside = target('healthy', { address: host.publicAddress, usePrivate: false })
  assert.equal(compareTarget(host, [outside], true, window).differs, [
    'is reached by lb-keybuzz-1 over its public address: turn use_private_ip on'
  ])
})

test('the steps: the load balancers are there, and each is configured as the settings say', async () => {
  const steps = balancerSteps([{ ...balancer, emptySelectors: ['role=k8s'] }], defaultSettings(), hosts)
  assert.equal(await Promise.all(steps.map(async ({ name, check }) => `${name}: ${await check()}`)), [
    "has its load balancers at Hetzner: no load balancer has the address 10.0.0.6; the token's project has "
    + 'lb-keybuzz-1 (10.0.0.5, 198.51.100.5)\n= lb-keybuzz-1 with 8 targets',
    "is checked by lb-keybuzz-1 as the settings say: the label selector role=k8s chooses no server: correct it, or the servers' labels"
  ])
})

test.run()
