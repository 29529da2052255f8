import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type AddressInfo, type Socket } from 'node:net'
import { promisify } from 'node:util'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { backendsOf, type Backend } from '../../../lib/apps/protocols.mts'
import { faultOf, nodesOfApps, reachesBackends, toldAtFirst } from '../../../lib/apps/reachable.mts'
import { defaultSettings, type Settings } from '../../../lib/input/settings.mts'
import { fakeKubectl } from '../../support/fake-kubectl.mts'
import { hostOf } from '../../support/hosts.mts'
import { commands, unreadable } from '../../support/node-shell.mts'

const [server, a, b] = [hostOf('server', { role: 'server' }), hostOf('a'), hostOf('b')]

test('applications run on the agents, and on servers without a taint', () => {
  const settings = defaultSettings()
  assert.equal(nodesOfApps({ hosts: [server, a, b], settings }), settings.k3s.server_taint ? [a, b] : [server, a, b])
  settings.k3s.server_taint = !settings.k3s.server_taint
  assert.equal(nodesOfApps({ hosts: [server, a, b], settings }), settings.k3s.server_taint ? [a, b] : [server, a, b])
})

// What busybox's nc does with these words: it gives the connection to the program behind -e, and says in its own words why
// there is none.
const path = `${commands({
  nc: `host=$3 port=$4; shift 5
why=$( { exec 3<>/dev/tcp/$host/$port; } 2>&1 ) || { echo "nc: can't connect to remote host ($host): \${why##*: }" >&2; exit 1; }
exec 3<>/dev/tcp/$host/$port; "$@" <&3 >&3`
})}:${process.env['PATH']}`

const pods = (names: string[]) => JSON.stringify({
  items: names.map((name, index) => ({
    metadata: { name: `netcheck-${name}` }, spec: { nodeName: name },
    status: { phase: 'Running', podIP: `10.42.${index}.2`, conditions: [{ type: 'Ready', status: 'True' }] }
  }))
})

const kubectlOf = (names = ['a', 'b']) => fakeKubectl(async (command) => {
  if (command.includes('get pods')) return pods(names)
  const words = command.slice(command.indexOf('-- sh') + 3)
  return (await promisify(execFile)('bash', ['-c', words], { env: { ...process.env, PATH: path, LC_ALL: 'C' } })).stdout
})

// Servers on 127.0.0.1, one for each backend, for as long as the test takes.
const served = async (serve: Partial<Record<Backend['key'], (socket: Socket, received: string) => void>>, work: (settings: Settings) => Promise<void>) => {
  const settings = defaultSettings()
  const { postgres, redis, rabbitmq, minio, mariadb, vault, smtp } = settings.backends
  for (const one of [postgres, redis, rabbitmq, minio, mariadb, vault]) one.address = ''
  const servers = await Promise.all(Object.entries(serve).map(async ([key, answer]) => {
    const one = createServer((socket) => {
      socket.on('error', () => {})
      socket.on('data', (data: Buffer) => answer(socket, data.toString('latin1')))
      if (key === 'smtp') answer(socket, '')
    })
    await once(one.listen(0, '127.0.0.1'), 'listening')
    const backend = settings.backends[key as Backend['key']]
    backend.port = (one.address() as AddressInfo).port
    if (key === 'smtp') smtp.host = '127.0.0.1'
    else Object.assign(backend, { address: '127.0.0.1' })
    return one
  }))
  try {
    await work(settings)
  } finally {
    for (const one of servers) one.close()
  }
}

const words = async (settings: Settings, hosts = [a, b], kubectl = kubectlOf()): Promise<string[]> => {
  const step = reachesBackends({ kubectl, settings, hosts, chosen: hosts, stands: () => true })
  return Promise.all(hosts.map((host) => (step(host).check as () => Promise<string>)()))
}

test('backends that answer as they should are the evidence of every node', () => served({
  postgres: (socket, received) => void socket.end(received === '\0\0\0\x08\x04\xd2\x16\x2f' ? 'N' : 'E'),
  redis: (socket, received) => void socket.write(received === 'PING\r\n' ? '-NOAUTH Authentication required.\r\n' : '-ERR\r\n'),
  smtp: (socket) => void socket.write('220 mail ESMTP\r\n')
}, async (settings) => {
  assert.equal(await words(settings), ['= PostgreSQL, Redis, SMTP', '= PostgreSQL, Redis, SMTP'])
}))

test('what every node has seen is told at the first, and what one hangs up on or refuses has its own words', () => served({
  postgres: (socket) => void socket.end(),
  redis: (socket) => void socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'),
  minio: (socket) => void socket.end('HTTP/1.1 200 OK\r\n\r\n')
}, async (settings) => {
  const gone = createServer()
  await once(gone.listen(0, '127.0.0.1'), 'listening')
  const { port } = gone.address() as AddressInfo
  gone.close()
  await once(gone, 'close')
  Object.assign(settings.backends.vault, { address: '127.0.0.1', port })
  const { postgres, redis } = settings.backends
  const [first, second] = await words(settings)
  assert.equal(first?.split('\n'), [
    '= MinIO',
    `PostgreSQL 127.0.0.1:${postgres.port} (from every node): it accepts, and hangs up without a word. Is any server up behind its load balancer (HAProxy), and is this its port?`,
    `Redis 127.0.0.1:${redis.port} (from every node): it answers with something else: "HTTP/1.1 400 Bad Request". Is this its port?`,
    `Vault 127.0.0.1:${port} (from every node): refused: nothing listens there. Is it started, and is ${port} its port (backends.vault.port)?`
  ])
  assert.is(second, '= MinIO\n= without PostgreSQL, Redis, Vault: see a')
}))

test('a node without a netcheck pod says so and fails nothing, unless no node could be asked', () => served({
  minio: (socket) => void socket.end('HTTP/1.1 200 OK\r\n\r\n')
}, async (settings) => {
  const [first, second] = await words(settings, [a, b], kubectlOf(['b']))
  assert.is(first, '= was not asked: its netcheck pod is not ready')
  assert.is(second, '= MinIO')
  const [alone] = await words(settings, [a, b], kubectlOf([]))
  assert.match(alone!, /^its netcheck pod is not ready\nHint: kubectl -n keybuzz-netcheck describe pods/)
}))

const [postgres] = backendsOf(defaultSettings()) as [Backend]
const fault = (said: string): string => faultOf(postgres, Buffer.from(said, 'latin1').toString('hex'))

test('what nc of BusyBox 1.35 says, in words', () => {
  assert.is(fault('Nexit 0\n'), '')
  assert.is(fault('Nexit 143\n'), '')
  assert.match(fault("nc: can't connect to remote host (10.0.0.10): Connection refused\n"), /^refused: nothing listens there\. .* is 5432 its port/)
  assert.match(fault("nc: can't connect to remote host (10.0.0.10): No route to host\n"), /^no route to it, .* Is 10\.0\.0\.10 its address/)
  assert.match(fault("nc: can't connect to remote host (10.0.0.10): Network is unreachable\n"), /^no route to it/)
  assert.match(fault('nc: timed out\n'), /^no answer in 3 s\. Does its firewall/)
  assert.match(fault("nc: bad address 'smtp.example.com'\n"), /^its name is not resolved/)
  for (const code of ['124', '143']) assert.match(fault(`exit ${code}\n`), /^it accepts, and says nothing in 8 s/)
  assert.match(fault('exit 1\n'), /^it accepts, and hangs up/)
  assert.is(fault('sh: nc: not found\n'), 'sh: nc: not found')
  assert.is(fault(''), 'its pod said nothing of it')
})

test('what only one of two nodes has seen is told there', () => {
  const told = toldAtFirst(new Map([['a', new Map([[postgres, 'x']])], ['b', new Map([[postgres, '']])]]))
  assert.equal([...told.values()], ['PostgreSQL 10.0.0.10:5432: x', '= PostgreSQL'])
  const alone = toldAtFirst(new Map([['a', new Map([[postgres, 'x']])]]))
  assert.equal([...alone.values()], ['PostgreSQL 10.0.0.10:5432: x'])
})

test('the shell to look by hand can be read', () => {
  const step = reachesBackends({ kubectl: kubectlOf(), settings: defaultSettings(), hosts: [a], chosen: [a], stands: () => true })(a)
  assert.is(unreadable(step.look!), '')
  assert.match(step.look!, /field-selector spec\.nodeName=a -o name/)
})

test.run()
