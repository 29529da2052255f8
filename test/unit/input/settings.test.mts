import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { parse } from 'yaml'
import { isSchedule } from '../../../lib/base/cron.mts'
import { quoted, renderFault, UsageError } from '../../../lib/base/errors.mts'
import { isPrivate, isUnicast, overlap, parseAddress, parseCidr } from '../../../lib/base/ipv4.mts'
import { defaultSettings, readSettings, type Settings } from '../../../lib/input/settings.mts'

const test = suite('settings')
const shipped = join(import.meta.dirname, '../../..', 'settings.yaml')

const folder = await mkdtemp(join(tmpdir(), 'settings-'))
test.after(() => rm(folder, { recursive: true }))

const write = async (text: string) => {
  const file = join(folder, `${crypto.randomUUID()}.yaml`)
  await writeFile(file, text)
  return file
}

const read = async (text: string): Promise<Settings> => readSettings(await write(text))

const faultsOf = async (text: string) => {
  try {
    await read(text)
  } catch (error) {
    if (error instanceof UsageError) return error.faults.map(({ what, line }) => `${line ?? '-'} ${what}`)
    throw error
  }
  return []
}

test('the shipped file names every key, and gives each its default', async () => {
  assert.equal(await readSettings(shipped), defaultSettings())
  assert.equal(parse(await readFile(shipped, 'utf8')), defaultSettings())
})

test('each key of the shipped file is explained: it, its section or its neighbour follows a comment', async () => {
  const lines = (await readFile(shipped, 'utf8')).split('\n')
  const paragraphs = lines.join('\n').split('\n\n')
  for (const paragraph of paragraphs) assert.match(paragraph, /^\s*# ./m, paragraph)
})

test('an empty file, and one of comments only, give the defaults', async () => {
  assert.equal(await read(''), defaultSettings())
  assert.equal(await read('# ssh:\n#   port: 22\n'), defaultSettings())
})

test('a section whose keys are all commented out gives the defaults', async () => {
  assert.equal(await read('ssh:\n  # port: 22\nnetwork:\nload_balancers:\n  api:\n'), defaultSettings())
})

test('what is given is taken, and the rest has its default', async () => {
  const settings = await read('network:\n  nameservers: [10.0.0.53]\n  private_cidr: 10.0.0.0/24\n')
  const { network } = defaultSettings()
  assert.equal(settings, {
    ...defaultSettings(),
    network: { ...network, nameservers: ['10.0.0.53'], private_cidr: '10.0.0.0/24' }
  })
})

test('pools that are given replace the documented ones', async () => {
  assert.equal((await read('pools:\n  gpu-1: heavy\n')).pools, { 'gpu-1': 'heavy' })
  assert.equal((await read('pools: {}\n')).pools, {})
})

test('anchors and CRLF are YAML too', async () => {
  const settings = await read('prepare:\r\n  server: &size { cpus: 4 }\r\n  agent: *size\r\n')
  assert.is(settings.prepare.server.cpus, 4)
  assert.is(settings.prepare.agent.cpus, 4)
})

test('a fault below an anchor has the line of the anchor', async () => {
  assert.equal(await faultsOf('prepare:\n  server: &size { cpus: 0 }\n  agent: *size\n'), [
    '2 prepare.server.cpus', '2 prepare.agent.cpus'
  ])
})

test('versions of releases, candidates and the lab are accepted', async () => {
  for (const version of ['v1.36.5+k3s1', 'v1.37.10+k3s12', 'v1.36.6-rc1+k3s1', 'v1.36.4+k3s1-lab']) {
    assert.is((await read(`k3s: { version: ${version} }`)).k3s.version, version)
  }
})

test('further arguments are accepted', async () => {
  const args = ['fail-cgroupv1=false', 'eviction-hard=memory.available<100Mi,nodefs.available<10%', 'v=2']
  assert.equal((await read(`k3s:\n  kubelet_args: ${JSON.stringify(args)}`)).k3s.kubelet_args, args)
  const etcd = ['heartbeat-interval=1000', 'election-timeout=10000', 'quota-backend-bytes=4294967296']
  assert.equal((await read(`k3s:\n  etcd_args: ${JSON.stringify(etcd)}`)).k3s.etcd_args, etcd)
})

test('one fault does not hide another, nor make a false one', async () => {
  // service_cidr is no network, so that nothing can be said of cluster_dns; the overlap is independent of it.
  const text = 'network:\n  service_cidr: nonsense\n  private_cidr: 10.0.0.0/8\n  cluster_dns: 10.99.0.1\nport: 1\n'
  assert.equal(await faultsOf(text), ['2 network.service_cidr', '3 network.cluster_cidr (default)', '5 port'])
})

test('of what a faulty section holds nothing more is said', async () => {
  assert.equal(await faultsOf('network: 10.99.0.0/16\nload_balancers: { http: [10.99.0.1] }\n'), ['1 network'])
})

test('keys that every JavaScript object has are unknown keys', async () => {
  assert.equal(await faultsOf('constructor: 1\n__proto__: { port: 1 }\nssh: { toString: 1 }\n'), [
    '1 constructor', '2 __proto__', '3 ssh.toString'
  ])
})

test('schedules', () => {
  const good = ['0 */6 * * *', '*/15 0-6,12 1,15 jan-mar MON', '0 3 * * 0', '5-59/10 * * * *', '@daily', '@hourly']
  const bad = ['', '* * * *', '* * * * * *', '60 * * * *', '0 24 * * *', '0 0 0 * *', '0 0 1 13 *', '0 0 * * 7',
    '0 6-3 * * *', '*/0 * * * *', '1- * * * *', 'a * * * *', '0  0 * * *', '@often', '0 0 * * *; reboot']
  for (const text of good) assert.ok(isSchedule(text), text)
  for (const text of bad) assert.not(isSchedule(text), text)
})

test('addresses and networks', () => {
  assert.is(parseAddress('255.255.255.255'), 4294967295)
  const bad = ['', '1.2.3', '1.2.3.4.5', '01.2.3.4', '1.2.3.256', ' 1.2.3.4', '1.2.3.4\n', '1.2.3.-4', '１.2.3.4']
  for (const text of bad) {
    assert.is(parseAddress(text), undefined, text)
  }
  for (const text of ['10.0.0.0', '10.0.0.0/33', '10.0.0.0/08', '10.0.0.0/', '/8', '10.0.0.0/8/8']) {
    assert.is(parseCidr(text), undefined, text)
  }
  const network = (text: string) => parseCidr(text) ?? { base: NaN, prefix: NaN }
  const pairs: [string, string, boolean][] = [
    ['10.0.0.0/16', '10.0.255.0/24', true],
    ['10.0.255.0/24', '10.0.0.0/16', true],
    ['10.0.0.0/16', '10.1.0.0/16', false],
    ['0.0.0.0/0', '203.0.113.0/24', true]
  ]
  for (const [a, b, expected] of pairs) assert.is(overlap(network(a), network(b)), expected, `${a} ${b}`)
  assert.ok(isPrivate({ base: parseAddress('172.16.0.0') ?? 0, prefix: 12 }))
  assert.not(isPrivate({ base: parseAddress('172.16.0.0') ?? 0, prefix: 8 }))
  assert.not(isUnicast(parseAddress('224.0.0.1') ?? 0))
  assert.ok(isUnicast(parseAddress('198.51.100.1') ?? 0))
})

test('a fault is one line that cannot deceive the terminal', () => {
  const fault = { file: 'servers.tsv', line: 7, what: 'HOSTNAME', expected: 'a name', remedy: 'Fix it.' }
  assert.is(renderFault({ ...fault, value: 'a\u001b[2J\nb' }),
    'servers.tsv:7 HOSTNAME "a\\u001b[2J\\nb": expected a name. Fix it.')
  assert.is(quoted('n°1 "é"…'), '"n°1 \\"é\\"…"')
  assert.is(quoted('a\u009b\u202e\u200b\u00a0b'), '"a\\u009b\\u202e\\u200b\\u00a0b"')
  assert.is(quoted('https://me:secret@host/x'), '"https://***@host/x"')
  assert.is(quoted('x'.repeat(200)).length, 83)
})

test.run()
