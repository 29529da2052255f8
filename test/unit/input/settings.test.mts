import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { parse } from 'yaml'
import { UsageError } from '../../../lib/base/errors.mts'
import { apiUrl, contextOf, defaultSettings, readSettings, type Settings } from '../../../lib/input/settings.mts'

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

test('the API and the context that the settings speak of', () => {
  const settings = defaultSettings()
  assert.is(apiUrl({ ...settings, load_balancers: { ...settings.load_balancers, api: { address: '10.0.0.9', port: 443, names: [] } } }),
    'https://10.0.0.9:443')
  assert.is(contextOf({ ...settings, environment: 'staging' }), 'keybuzz-staging')
})

test.run()
