import { readFile } from 'node:fs/promises'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { readInventory } from '../../lib/input/inventory.mts'
import { readSettings } from '../../lib/input/settings.mts'
import type { ContainerInspectInfo } from 'dockerode'
import { foundAs } from '../lab/boot.mts'
import { balancers, machines, nodes, services } from '../lab/containers.mts'

const root = new URL('../..', import.meta.url).pathname

test('the nodes are those of servers.tsv, on their addresses', async () => {
  const settings = await readSettings(`${root}test/lab/settings.yaml`)
  const { hosts } = await readInventory(`${root}servers.tsv`, { environment: settings.environment })
  const wanted = hosts.map(({ name, address, publicAddress }) => ({ name, private: address, public: publicAddress }))
  assert.equal(nodes.map((node) => ({ name: node.name, private: node.private, public: node.public })), wanted)
})

test('the settings name machines that are there', async () => {
  const { load_balancers: balancers, network } = await readSettings(`${root}test/lab/settings.yaml`)
  const addresses = services.map((service) => service.private)
  for (const address of [balancers.api.address, ...network.nameservers]) assert.ok(addresses.includes(address), address)
})

test('the public load balancers are those of the settings, with the health check that the settings tell', async () => {
  const { load_balancers: { http }, ingress: { client_address, health_check } } = await readSettings(`${root}test/lab/settings.yaml`)
  assert.equal(balancers.map((one) => one.private), http)
  const text = await readFile(`${root}test/lab/images/tools/rootfs/etc/haproxy/lb-keybuzz.cfg`, 'utf8')
  const { path, host, interval, timeout, retries } = health_check
  assert.is(host, '')
  assert.ok(text.includes(`option httpchk GET ${path}\n`))
  assert.ok(text.includes(`timeout check ${timeout}s\n`))
  assert.ok(text.includes(`inter ${interval}s fall ${retries} rise ${retries} ${client_address === 'proxy-protocol' ? 'send-proxy' : ''}`))
  for (const { name, private: address } of nodes)
    for (const port of [80, 443]) assert.ok(text.includes(`server ${name} ${address}:${port}\n`))
})

test('no two machines have a name or an address in common', () => {
  for (const values of [machines.map(({ name }) => name), machines.map((one) => one.private)])
    assert.is(new Set(values).size, values.length)
})

test('what a machine has of a container is kept where it can run, and nothing of it where it cannot', () => {
  const container = (state: object, stamp = 'now') =>
    ({ State: { Running: false, Dead: false, StartedAt: '2026-01-02T03:04:05Z', ...state }, Config: { Labels: { 'io.keybuzz.lab.stamp': stamp } } }) as unknown as ContainerInspectInfo
  assert.is(foundAs(undefined, 'node', 'now'), 'new')
  assert.is(foundAs(container({ StartedAt: '0001-01-01T00:00:00Z' }), 'node', 'now'), 'new')
  assert.is(foundAs(container({ Dead: true }), 'node', 'now'), 'new', 'a removal that the death of the engine cut short')
  assert.is(foundAs(container({}), 'node', 'now'), 'started')
  assert.is(foundAs(container({ Running: true }), 'node', 'now'), 'running')
  assert.is(foundAs(container({ Running: true }, 'before'), 'node', 'now'), 'older')
  assert.is(foundAs(container({ Running: true }, 'before'), 'tools', 'now'), 'new')
})

test.run()
