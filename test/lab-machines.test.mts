import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { readInventory } from '../lib/inventory.mts'
import { readSettings } from '../lib/settings.mts'
import { machines, nodes, services } from './lab/containers.mts'

const root = new URL('..', import.meta.url).pathname

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

test('no two machines have a name or an address in common', () => {
  for (const values of [machines.map(({ name }) => name), machines.map((one) => one.private)])
    assert.is(new Set(values).size, values.length)
})

test.run()
