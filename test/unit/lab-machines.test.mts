import { readFile } from 'node:fs/promises'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { readInventory } from '../../lib/input/inventory.mts'
import { readSettings } from '../../lib/input/settings.mts'
import type { ContainerInspectInfo } from 'dockerode'
import { foundAs } from '../lab/boot.mts'
import { alerts, backends, balancers, machines, nodes, services, vault } from '../lab/containers.mts'
import { recipe } from '../lab/recipe.mts'

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

test('each stateful service is on its address of the settings, and of servers.tsv', async () => {
  const { backends: { postgres, redis, rabbitmq, minio, mariadb, vault: outside } } = await readSettings(`${root}test/lab/settings.yaml`)
  const servers = await readFile(`${root}servers.tsv`, 'utf8')
  const proxy = await readFile(`${root}test/lab/images/tools/rootfs/etc/haproxy/lb-haproxy.cfg`, 'utf8')
  const [lb] = services.filter(({ name }) => name === 'lb-haproxy')
  const behind = { postgres: [postgres.port], redis: [redis.port], rabbitmq: [rabbitmq.port, rabbitmq.management_port] }
  for (const { name, private: address, command: [service = ''] = [] } of backends) {
    if (service !== 'mariadb') assert.ok(servers.includes(`\t${name}\t${address}\t`), name)
    for (const port of behind[service as keyof typeof behind] ?? [])
      assert.ok(proxy.includes(`  bind :${port}\n  server ${name} ${address}:${port} check\n`), `${service} ${port}`)
  }
  for (const { address } of [postgres, redis, rabbitmq]) assert.is(address, lb?.private)
  const addressOf = (service: string) => backends.find(({ command }) => command?.[0] === service)?.private
  assert.is(addressOf('minio'), minio.address)
  assert.is(addressOf('mariadb'), mariadb.address)
  assert.is(vault.private, outside.address)
  assert.ok(servers.includes(`\t${vault.name}\t${vault.private}\t`))
})

test("the resolver sends the applications' hosts to the public load balancers", async () => {
  const { apps: { api, front, chatwoot, n8n, superset }, monitoring: { grafana } } = await readSettings(`${root}test/lab/settings.yaml`)
  const hosts = [api, front, chatwoot, n8n, superset, grafana].map(({ host }) => host).join(',')
  const text = await readFile(`${root}test/lab/images/tools/rootfs/etc/lab/dnsmasq.conf`, 'utf8')
  for (const one of balancers) assert.ok(text.includes(`host-record=${hosts},${one.private}\n`), one.name)
})

test('the bastion has what an operator gives, the stateful services have all secrets, the mail server its own; nobody else has any', async () => {
  const key = { secret: '', open: '' }
  const keys = new Map(machines.map(({ name }) => [name, key]))
  const mounts = [{ machine: 'minio-01', from: '/here', to: '/opt/minio' }]
  const given = [{ machine: 'vault-01', file: { content: '', target: '/etc/vault.d/key.pem', mode: 0o600 } }]
  for (const machine of machines) {
    const { create, host, files } = await recipe(machine, { keys, mounts, given })
    const secrets = files.filter(({ target }) => target.startsWith('/etc/lab/') && target.endsWith('secrets'))
    for (const { mode } of secrets) assert.is(mode, 0o600)
    assert.is(secrets.length, machine.name === 'bastion' ? 2 : backends.includes(machine) || machine === alerts ? 1 : 0, machine.name)
    if (machine === alerts) assert.match(secrets[0]!.content, /^KEYBUZZ_SMTP_PASSWORD=.+\n$/)
    assert.is(create.Env?.some((line) => line.startsWith('KEYBUZZ_')) ?? false, machine.name === 'bastion')
    assert.is(host.Binds?.includes('/here:/opt/minio:ro'), machine.name === 'minio-01')
    assert.is(files.includes(given[0]!.file), machine.name === 'vault-01')
  }
})

test('what is on /run of a machine does not survive its power: chronyd would refuse to start beside it', async () => {
  const keys = new Map(machines.map(({ name }) => [name, { secret: '', open: '' }]))
  for (const machine of machines) {
    const { host } = await recipe(machine, { keys, mounts: [], given: [] })
    assert.ok(host.Tmpfs?.['/run'], machine.name)
  }
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
