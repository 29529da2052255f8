import { execFile, type ChildProcess } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { connect, createServer, type AddressInfo } from 'node:net'
import { promisify } from 'node:util'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Host } from '../../../lib/input/inventory.mts'
import {
  faultsOf, portMatrix, portsCommand, portsOf, reachByHand, targetsOf, toldOnce, type Probed, type Ready, type Target
} from '../../../lib/node/ports.mts'
import { defaultSettings } from '../../../lib/input/settings.mts'
import { answeringSsh } from '../../support/answering-ssh.mts'
import { eventually } from '../../support/eventually.mts'
import { commands } from '../../support/node-shell.mts'

const { network } = defaultSettings()
const host = (name: string, last: number, role: Host['role']): Host => ({
  name,
  role,
  address: `10.0.0.${last}`,
  publicAddress: `198.51.100.${last}`,
  ...{ user: 'root', fqdn: '', stack: '', pool: '', line: 1 }
})
const first = host('k3s-master-01', 100, 'server')
const second = host('k3s-master-02', 101, 'server')
const worker = host('k3s-worker-01', 110, 'agent')

const fresh = ({ role }: Host): Ready => ({
  k3s: false, held: [...portsOf({ role } as Host).map((port) => `${port}/tcp`), '8472/udp'], busy: [], failed: {}, overlay: ''
})
const running = (overlay: string): Ready => ({ k3s: true, held: [], busy: ['10250/tcp', '8472/udp'], failed: {}, overlay })
const allFresh = new Map([first, second, worker].map((one) => [one, fresh(one)]))

const short = (from: Host, ready: Map<Host, Ready>): string[] => targetsOf(from, ready, network).map(
  (target) => `${target.expected} ${target.port}/${target.protocol} ${target.size} ${target.host} ${target.address}`
)

test('a server needs every port of another server, and of an agent only the kubelet and VXLAN', () => {
  assert.equal(short(first, allFresh).filter((line) => line.startsWith('open')), [
    'open 6443/tcp 0 k3s-master-02 10.0.0.101',
    'open 2379/tcp 0 k3s-master-02 10.0.0.101',
    'open 2380/tcp 0 k3s-master-02 10.0.0.101',
    'open 10250/tcp 0 k3s-master-02 10.0.0.101',
    'open 8472/udp 1422 k3s-master-02 10.0.0.101',
    'open 10250/tcp 0 k3s-worker-01 10.0.0.110',
    'open 8472/udp 1422 k3s-worker-01 10.0.0.110'
  ])
})

test('an agent needs the API of a server, not its etcd', () => {
  assert.equal(short(worker, new Map([[worker, fresh(worker)], [first, fresh(first)]])), [
    'open 6443/tcp 0 k3s-master-01 10.0.0.100',
    'open 10250/tcp 0 k3s-master-01 10.0.0.100',
    'open 8472/udp 1422 k3s-master-01 10.0.0.100',
    'closed 6443/tcp 0 k3s-master-01 198.51.100.100',
    'closed 2379/tcp 0 k3s-master-01 198.51.100.100',
    'closed 2380/tcp 0 k3s-master-01 198.51.100.100',
    'closed 10250/tcp 0 k3s-master-01 198.51.100.100',
    'closed 8472/udp 64 k3s-master-01 198.51.100.100'
  ])
})

test('where K3s is installed and down, a refusal proves the way as well as an answer', () => {
  const [target] = targetsOf(first, new Map([[first, fresh(first)], [second, running('')]]), network)
  assert.equal(faultsOf(first, [{ ...target!, result: 'refused' }], network), [])
  assert.is(faultsOf(first, [{ ...target!, result: 'no answer' }], network).length, 1)
})

test('a host that does not listen is no target', () => {
  assert.equal(short(first, new Map([[first, fresh(first)]])), [])
})

test('a host without a public address is tried on its private one only', () => {
  const inside = { ...second, publicAddress: '' }
  const lines = short(first, new Map([[first, fresh(first)], [inside, fresh(inside)]]))
  assert.not(lines.some((line) => line.startsWith('closed')))
})

test('where flannel runs on both, VXLAN is proven by a ping of full size through it', () => {
  const ready = new Map([[first, running('10.42.0.0')], [worker, running('10.42.3.0')]])
  const beside = short(first, ready).filter((line) => !line.includes('tcp'))
  assert.equal(beside, ['open 0/icmp 1372 k3s-worker-01 10.42.3.0'])
})

test('where flannel runs only on the other host, nothing can prove VXLAN yet', () => {
  const ready = new Map([[first, fresh(first)], [worker, running('10.42.3.0')]])
  assert.equal(short(first, ready).filter((line) => !line.includes('tcp')), [])
  assert.ok(short(worker, ready).includes('open 8472/udp 1422 k3s-master-01 10.0.0.100'))
})

const probed = (from: Host, results: Record<string, string>): Probed[] =>
  targetsOf(from, allFresh, network).map((target) => ({
    ...target,
    result: results[`${target.port}/${target.protocol} ${target.address}`] ??
      (target.expected === 'open' ? 'open' : 'no answer')
  }))

test('what is as expected is no fault', () => {
  assert.equal(faultsOf(first, probed(first, {}), network), [])
  assert.equal(faultsOf(first, probed(first, { '6443/tcp 198.51.100.101': 'refused' }), network), [])
})

test('a port that does not answer is a fault of the host that needs it, an open public one of its own host', () => {
  const results = {
    '10250/tcp 10.0.0.110': 'no answer',
    '2379/tcp 10.0.0.101': 'refused',
    '6443/tcp 10.0.0.101': 'No route to host',
    '8472/udp 10.0.0.101': 'only small',
    '8472/udp 10.0.0.110': 'too big',
    '10250/tcp 198.51.100.110': 'open',
    '8472/udp 198.51.100.101': 'only small'
  }
  assert.equal(faultsOf(first, probed(first, results), network), [
    ['k3s-master-01', '6443/tcp to k3s-master-02 10.0.0.101: No route to host'],
    ['k3s-master-01', '2379/tcp to k3s-master-02 10.0.0.101: refused, nothing listens there'],
    ['k3s-master-01', '8472/udp to k3s-master-02 10.0.0.101: only small datagrams arrive, none of 1450 bytes: ' +
      'something on the way has a smaller MTU'],
    ['k3s-master-02', '8472/udp on the public address 198.51.100.101 answers, expected closed'],
    ['k3s-master-01', '10250/tcp to k3s-worker-01 10.0.0.110: no answer in 2 s'],
    ['k3s-master-01', '8472/udp to k3s-worker-01 10.0.0.110: datagrams of 1450 bytes do not leave this node: ' +
      'its private NIC has a smaller MTU'],
    ['k3s-worker-01', '10250/tcp on the public address 198.51.100.110 answers, expected closed']
  ])
})

test('a ping that does not come back is named by the pod network', () => {
  const ready = new Map([[first, running('10.42.0.0')], [worker, running('10.42.3.0')]])
  const [ping] = targetsOf(first, ready, network).filter(({ protocol }) => protocol === 'icmp')
  assert.equal(faultsOf(first, [{ ...ping!, result: 'no answer' }], network), [
    ['k3s-master-01', 'pod network to k3s-worker-01 10.42.3.0: no answer in 2 s']
  ])
})

// The probe itself, on this machine's loopback.

const source = await readFile(new URL('../../../lib/node/ports.py', import.meta.url), 'utf8')
const bash = promisify(execFile)
const ports = async (command: string, words: object): Promise<string> =>
  (await bash('bash', ['-c', portsCommand(source, command, words)])).stdout
const listen = async (channel: string, words: object): Promise<Ready> => {
  const common = { tcp: [], udp: [], peers: ['peer'], seconds: 20, patience: 0.1 }
  return JSON.parse(await ports('listen', { channel, ...common, ...words })) as Ready
}
const probe = async (channel: string, targets: object[]): Promise<string[]> => {
  const common = { address: '127.0.0.1', size: 0, seconds: 2 }
  const words = { channel, name: 'peer', farewell: 0.3, targets: targets.map((target) => ({ ...common, ...target })) }
  return (await ports('probe', words)).trim().split('\n').map((line) => (JSON.parse(line) as Probed).result)
}

let channels = 0
const channel = (): string => `keybuzz-test-${process.pid}-${channels++}`

const freePort = async (): Promise<number> => {
  const server = createServer()
  await new Promise<void>((resolve) => void server.listen(0, '0.0.0.0', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => void server.close(resolve))
  return port
}

const answers = (port: number): Promise<boolean> => new Promise((resolve) => {
  const socket = connect(port, '127.0.0.1')
  socket.on('connect', () => resolve(true)).on('error', () => resolve(false)).on('close', () => socket.destroy())
  socket.unref()
})

const untilClosed = (port: number): Promise<void> => eventually(`nobody listens on port ${port}`, async () => !(await answers(port)))

test('a listener says what it holds, answers in the background, and ends at the last goodbye', async () => {
  const [tcp, udp, line] = [await freePort(), await freePort(), channel()]
  assert.equal(await listen(line, { tcp: [tcp], udp: [udp] }), {
    k3s: false, held: [`${tcp}/tcp`, `${udp}/udp`], busy: [], failed: {}, overlay: ''
  })
  assert.is(await answers(tcp), true)
  const targets = [{ port: tcp, protocol: 'tcp' }, { port: udp, protocol: 'udp', size: 1422 }]
  assert.equal(await probe(line, targets), ['open', 'open'])
  assert.is(await answers(tcp), false)
})

test('a port on which something listens already is left to it', async () => {
  const server = createServer((socket) => void socket.end())
  await new Promise<void>((resolve) => void server.listen(0, '0.0.0.0', resolve))
  const { port } = server.address() as AddressInfo
  const line = channel()
  assert.equal((await listen(line, { tcp: [port] })).busy, [`${port}/tcp`])
  assert.equal(await probe(line, [{ port, protocol: 'tcp' }]), ['open'])
  await new Promise((resolve) => void server.close(resolve))
})

test('a closed port is refused, over TCP and UDP', async () => {
  const port = await freePort()
  const targets = [{ port, protocol: 'tcp' }, { port, protocol: 'udp', size: 64 }]
  assert.equal(await probe(channel(), targets), ['refused', 'refused'])
})

test('a datagram that the NIC cannot send whole is not cut in pieces', async () => {
  const port = await freePort()
  const line = channel()
  await listen(line, { udp: [port] })
  assert.equal(await probe(line, [{ port, protocol: 'udp', size: 65_508 }]), ['too big'])
})

test('something that takes datagrams and says nothing is told from something that answers', async () => {
  const silent: ChildProcess = execFile('python3', ['-c', `import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True)
time.sleep(30)`])
  const port = await new Promise<number>((resolve) => {
    silent.stdout?.on('data', (data: string) => resolve(Number(data)))
  })
  assert.equal(await probe(channel(), [{ port, protocol: 'udp', size: 64, seconds: 0.4 }]), ['no answer'])
  silent.kill()
})

test('a listener that nobody says goodbye to ends by itself', async () => {
  const port = await freePort()
  await listen(channel(), { tcp: [port], seconds: 0.3 })
  await untilClosed(port)
})

test('a listener that an interrupted run has left makes way for the next', async () => {
  const [port, line] = [await freePort(), channel()]
  await listen(line, { tcp: [port] })
  assert.equal((await listen(line, { tcp: [port] })).held, [`${port}/tcp`])
  await probe(line, [{ port, protocol: 'tcp' }])
  await untilClosed(port)
})

test('a listener whose peer has failed is told to end by the node that probes beside it', async () => {
  const [port, line] = [await freePort(), channel()]
  await listen(line, { tcp: [port], peers: ['peer', 'never heard of'] })
  await probe(line, [{ port, protocol: 'tcp' }])
  await untilClosed(port)
})

test('all hosts listen, then all probe, and faults are told of the host that must mend them', async () => {
  const asked: [host: string, command: string][] = []
  const ssh = answeringSsh((script, { name }) => {
    const [, command = '', words = ''] = /^python3 - (\w+) '(.*)' <<'PORTS'\n/.exec(script)!
    asked.push([name, command])
    if (command === 'listen') {
      if (name === worker.name) throw new Error('unreachable')
      const ready: Ready = { ...fresh(first), failed: name === second.name ? { '2379/tcp': 'Permission denied' } : {} }
      return JSON.stringify(ready)
    }
    const { targets } = JSON.parse(words) as { targets: Target[] }
    const opened = (target: Target): boolean => target.expected === 'open' || target.port === 10250 && target.host === first.name
    return targets.map((target) => JSON.stringify({ ...target, result: opened(target) ? 'open' : 'no answer' })).join('\n')
  })
  const faults = await portMatrix([first, second, worker], { settings: defaultSettings(), ssh })
  assert.equal(faults, new Map([
    [first.name, ['10250/tcp on the public address 198.51.100.100 answers, expected closed']],
    [second.name, ['cannot listen on 2379/tcp: Permission denied']],
    [worker.name, ['cannot listen: unreachable']]
  ]))
  assert.equal(asked, [
    [first.name, 'listen'], [second.name, 'listen'], [worker.name, 'listen'], [first.name, 'probe'], [second.name, 'probe']
  ])
})

test('an interruption of the matrix is no fault of a host', async () => {
  const interrupted = Object.assign(new Error('interrupted'), { name: 'AbortError' })
  const ssh = answeringSsh(() => { throw interrupted })
  await portMatrix([first, second], { settings: defaultSettings(), ssh })
    .then(() => assert.unreachable(), (error: unknown) => assert.is(error, interrupted))
})

test('by hand a host tries what it needs of each other', () => {
  const targets = (from: Host): string => /^for target in (.*); do$/m.exec(reachByHand(from, [first, second, worker]))![1]!
  assert.is(targets(first), '10.0.0.101/6443 10.0.0.101/2379 10.0.0.101/2380 10.0.0.101/10250 10.0.0.110/10250')
  assert.is(targets(worker), '10.0.0.100/6443 10.0.0.100/10250 10.0.0.101/6443 10.0.0.101/10250')
})

test('by hand a port that answers or refuses is passed over, and any other is told with its reason', async () => {
  const server = createServer((socket) => void socket.end()).unref()
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const ssh = commands({ ssh: 'echo "$1" >&2; shift; exec "$@"' })
  const targets = `127.0.0.1/${port} 127.0.0.1/${await freePort()} 255.255.255.255/80`
  const text = reachByHand(worker, [worker, first]).replace(/^for target in .*$/m, `for target in ${targets}; do`)
  const { stdout, stderr } = await bash('bash', ['-c', text], { env: { ...process.env, PATH: `${ssh}:${process.env['PATH']}` } })
  assert.is(stderr, 'root@10.0.0.110\n')
  assert.match(stdout, /^255\.255\.255\.255\/80: .*Network is unreachable\n.*Network is unreachable\n$/)
})

test('one host that is cut off from several is one finding, told by itself', () => {
  const refuse = (...others: string[]): string[] => others.map((other) => `2379/tcp to ${other} 10.0.0.9: no answer in 2 s`)
  const faults = (...all: [string, string[]][]) => Object.fromEntries(toldOnce(new Map(all)))
  assert.equal(faults(['a', refuse('b', 'c')], ['b', [...refuse('a'), 'cannot listen on 6443/tcp: in use']], ['c', refuse('a')]), {
    a: refuse('b', 'c'), b: ['cannot listen on 6443/tcp: in use'], c: []
  })
  const two = [['a', refuse('b')], ['b', refuse('a')], ['c', []]] as [string, string[]][]
  assert.equal(faults(...two), Object.fromEntries(two))
  const firewall = [['a', refuse('b')], ['b', []], ['c', refuse('b')]] as [string, string[]][]
  assert.equal(faults(...firewall), Object.fromEntries(firewall))
})

test.run()
