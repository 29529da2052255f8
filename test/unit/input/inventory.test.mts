import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { UsageError } from '../../../lib/base/errors.mts'
import { readInputs } from '../../../lib/input/inputs.mts'
import { readInventory } from '../../../lib/input/inventory.mts'
import { defaultSettings } from '../../../lib/input/settings.mts'

const test = suite('inventory')
const root = join(import.meta.dirname, '../../..')
const shipped = join(root, 'servers.tsv')
const { environment, network, pools } = defaultSettings()
const options = { environment, privateCidr: network.private_cidr, pools }

const folder = await mkdtemp(join(tmpdir(), 'inventory-'))
test.after(() => rm(folder, { recursive: true }))

const HEADER = 'ENV IP_PUBLIQUE HOSTNAME IP_PRIVEE FQDN USER_SSH POOL ROLE SUBROLE DOCKER_STACK CORE NOTES'.split(' ')
const server = 'prod,,k3s-master-01,10.0.0.100,,root,k3s,k3s,master,k3s-control-plane,,'.split(',')
const worker = 'prod,,k3s-worker-01,10.0.0.110,,ops,k3s,k3s,worker,k3s-node,8,'.split(',')
const redis = 'prod,,redis-01,10.0.0.123,,root,x,redis,master,redis-sentinel,4,'.split(',')

const replaced = (row: string[], values: Record<string, string>) =>
  row.map((value, index) => values[HEADER[index] ?? ''] ?? value)

const write = async (rows: string[][], { eol = '\n', start = '' } = {}) => {
  const file = join(folder, `${crypto.randomUUID()}.tsv`)
  await writeFile(file, start + rows.map((row) => row.join('\t') + eol).join(''))
  return file
}

const faultsOf = async (promise: Promise<unknown>): Promise<UsageError> => {
  try {
    await promise
  } catch (error) {
    if (error instanceof UsageError) return error
    throw error
  }
  throw new Error('expected a UsageError')
}

test('the shipped file holds the eight documented nodes', async () => {
  const { hosts, notes } = await readInventory(shipped, options)
  assert.equal(
    hosts.map(({ name, address, role, pool }) => `${name} ${address} ${role} ${pool}`),
    [
      'k3s-master-01 10.0.0.100 server control-plane',
      'k3s-master-02 10.0.0.101 server control-plane',
      'k3s-master-03 10.0.0.102 server control-plane',
      'k3s-worker-01 10.0.0.110 agent general',
      'k3s-worker-02 10.0.0.111 agent general',
      'k3s-worker-03 10.0.0.112 agent heavy',
      'k3s-worker-04 10.0.0.113 agent observability',
      'k3s-worker-05 10.0.0.114 agent reserve'
    ]
  )
  for (const { address, publicAddress } of hosts) {
    assert.is(publicAddress, address.replace('10.0.0.', '198.51.100.'))
  }
  assert.equal(notes, ['8 K3s rows of 17 taken'])
})

test('a host carries every field of its row, and its line', async () => {
  const { hosts } = await readInventory(shipped, options)
  assert.equal(hosts.find(({ name }) => name === 'k3s-worker-03'), {
    name: 'k3s-worker-03',
    address: '10.0.0.112',
    publicAddress: '198.51.100.112',
    user: 'root',
    fqdn: 'k3s-ia.keybuzz.io',
    role: 'agent',
    stack: 'k3s-node',
    pool: 'heavy',
    line: 9
  })
})

test('empty fields stay empty, and USER_SSH is honoured', async () => {
  const { hosts } = await readInventory(await write([HEADER, server, worker]), options)
  assert.equal(hosts.map(({ publicAddress, fqdn, user }) => [publicAddress, fqdn, user]), [
    ['', '', 'root'],
    ['', '', 'ops']
  ])
})

test('quotes, accents, an ellipsis and a degree sign are plain characters', async () => {
  const notes = ['"', '""', 'un "nœud" n°3…', "l'été", '\\', '$(x) `y`; z']
  const rows = notes.map((NOTES, index) =>
    replaced(worker, { NOTES, HOSTNAME: `k3s-worker-0${index}`, IP_PRIVEE: `10.0.1.${index + 1}` }))
  const { hosts } = await readInventory(await write([HEADER, server, ...rows]), options)
  assert.is(hosts.length, 1 + notes.length)
})

test('a file with two more columns reads the same', async () => {
  const wide = [[...HEADER, 'REGION', 'DISK'], [...server, 'fsn1', '80'], [...worker, '', '']]
  const narrow = [HEADER, server, worker]
  assert.equal(await readInventory(await write(wide), options), await readInventory(await write(narrow), options))
})

test('CRLF and a byte order mark are accepted and told', async () => {
  const plain = await readInventory(await write([HEADER, server, worker]), options)
  const file = await write([HEADER, server, worker], { eol: '\r\n', start: '\ufeff' })
  const { hosts, notes } = await readInventory(file, options)
  assert.equal(hosts, plain.hosts)
  assert.equal(notes.slice(0, 2), [
    `${file} starts with a byte order mark, which was skipped`,
    `${file} has CRLF line ends, which were read as LF`
  ])
})

test('blank lines are skipped and counted as lines', async () => {
  const { hosts } = await readInventory(await write([[''], HEADER, [''], server, ['  '], worker, [''], ['']]), options)
  assert.equal(hosts.map(({ line }) => line), [4, 6])
})

test('rows of other roles are judged by their number of columns alone', async () => {
  const odd = replaced(redis, { IP_PRIVEE: 'unknown', HOSTNAME: 'Old Redis!', USER_SSH: '', SUBROLE: '' })
  const { hosts } = await readInventory(await write([HEADER, odd, server, worker]), options)
  assert.is(hosts.length, 2)
})

test('rows of other roles in the same environment are the machines, as they are written', async () => {
  const elsewhere = replaced(redis, { ENV: 'dev', HOSTNAME: 'redis-09' })
  const { machines } = await readInventory(await write([HEADER, server, redis, elsewhere, worker]), options)
  assert.equal(machines, [
    { name: 'redis-01', address: '10.0.0.123', role: 'redis', subrole: 'master', stack: 'redis-sentinel', line: 3 }
  ])
})

test('SUBROLE=master of another role is no server', async () => {
  const { hosts } = await readInventory(await write([HEADER, redis, server, worker]), options)
  assert.equal(hosts.filter(({ role }) => role === 'server').map(({ name }) => name), ['k3s-master-01'])
})

test('only rows of the environment are taken, and those left out are told', async () => {
  const staging = replaced(worker, { ENV: 'staging', IP_PRIVEE: 'not judged' })
  const { hosts, notes } = await readInventory(await write([HEADER, server, worker, staging]), options)
  assert.is(hosts.length, 2)
  assert.is(notes[0], '2 K3s rows of 3 taken; 1 K3s row of another environment left out')
})

test('without an environment the only one there is is taken, and two are a fault', async () => {
  assert.is((await readInventory(await write([HEADER, server, worker]))).hosts.length, 2)
  const file = await write([HEADER, server, replaced(worker, { ENV: 'staging' })])
  assert.is(
    (await faultsOf(readInventory(file))).message,
    `${file} ENV: expected K3s rows of the environment; the file has K3s rows of "prod", "staging". `
      + 'Set environment in the settings to one of them, or correct the column.'
  )
})

test('the pool comes from DOCKER_STACK, and from the settings where that says only k3s-node', async () => {
  const stacks: [string, string][] = [
    ['k3s-node', 'general'],
    ['k3s-worker-general', 'general'],
    ['k3s-worker-heavy', 'heavy'],
    ['k3s-worker-observability', 'observability'],
    ['k3s-worker-extra', 'reserve']
  ]
  const rows = stacks.map(([DOCKER_STACK], index) =>
    replaced(worker, { DOCKER_STACK, HOSTNAME: `w-${index}`, IP_PRIVEE: `10.0.1.${index + 1}` }))
  const file = await write([HEADER, server, ...rows])
  const { hosts } = await readInventory(file, options)
  assert.equal(hosts.slice(1).map(({ pool }) => pool), stacks.map(([, pool]) => pool))
  const named = { 'w-0': 'heavy', 'w-1': 'heavy', 'w-9': 'heavy' }
  const { hosts: chosen, notes } = await readInventory(file, { pools: named })
  assert.equal(chosen.slice(1, 3).map(({ pool }) => pool), ['heavy', 'general'])
  assert.equal(notes.slice(2), [
    'pools in the settings names no K3s row: w-9',
    'w-1 is in pool general as its DOCKER_STACK k3s-worker-general says; pools in the settings says heavy'
  ])
})

test('one server, and no worker, are told', async () => {
  const { notes } = await readInventory(await write([HEADER, server]), options)
  assert.equal(notes.slice(1), [
    'one server: the cluster is not highly available; three survive the loss of one',
    'no worker: nothing but the control plane will run'
  ])
})

test('one machine in two roles is accepted, two machines with one address are not', async () => {
  const same = replaced(redis, { HOSTNAME: 'k3s-worker-01', IP_PRIVEE: '10.0.0.110' })
  assert.is((await readInventory(await write([HEADER, server, worker, same]), options)).hosts.length, 2)
  const other = replaced(redis, { IP_PRIVEE: '10.0.0.110' })
  const { faults } = await faultsOf(readInventory(await write([HEADER, server, worker, other]), options))
  assert.equal(faults.map(({ what, line }) => `${what} ${line}`), ['IP_PRIVEE 3'])
})

test('a file that is missing, or a folder, says so', async () => {
  const missing = join(folder, 'missing.tsv')
  assert.is(
    (await faultsOf(readInventory(missing))).message,
    `${missing} file: expected a file that exists. Correct the path.`
  )
  assert.is(
    (await faultsOf(readInventory(folder))).message,
    `${folder} file: expected a file, not a folder. Name the file inside it.`
  )
})

test('settings and inventory report the faults of both at once', async () => {
  const settings = join(folder, 'settings.yaml')
  await writeFile(settings, 'mtuu: 1\n')
  const inventory = await write([HEADER, server, replaced(worker, { IP_PRIVEE: '10.0.0.1.1', ENV: 'staging' })])
  const { faults } = await faultsOf(readInputs({ settings, inventory }))
  assert.equal(faults.map(({ file, what }) => [file, what]), [[settings, 'mtuu']])
  const other = await write([HEADER, server, replaced(worker, { IP_PRIVEE: '10.0.0.1.1' })])
  const both = await faultsOf(readInputs({ settings, inventory: other }))
  assert.equal(both.faults.map(({ file, what }) => [file, what]), [[settings, 'mtuu'], [other, 'IP_PRIVEE']])
})

test('more nodes than the pods have networks for are refused', async () => {
  const settings = join(folder, 'small.yaml')
  await writeFile(settings, 'network: { cluster_cidr: 10.42.0.0/23 }\n')
  const { message } = await faultsOf(readInputs({ settings, inventory: shipped }))
  assert.is(message, `${shipped} ROLE=k3s: expected at most 2 nodes, found 8. `
    + 'network.cluster_cidr 10.42.0.0/23 in the settings has no /24 for more.')
})

test.run()
