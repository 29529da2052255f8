import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { UsageError } from '../../../lib/base/errors.mts'
import { pathText, readYaml, valueAt } from '../../../lib/input/yaml.mts'

const folder = await mkdtemp(join(tmpdir(), 'yaml-'))
test.after(() => rm(folder, { recursive: true }))

const read = async (text: string) => {
  const file = join(folder, crypto.randomUUID())
  await writeFile(file, text)
  return readYaml(file)
}

const faultsOf = async (text: string): Promise<string[]> => {
  const error = await read(text).then(() => undefined, (thrown: unknown) => thrown)
  assert.instance(error, UsageError)
  return (error as UsageError).faults.map(({ line, what, value }) => `${line} ${what} ${value}`)
}

test('a path as the operator would write it', () => {
  assert.equal([[], ['network'], ['network', 'nameservers', 1]].map(pathText), ['', 'network', 'network.nameservers[1]'])
})

test('what data holds at a path, or nothing', () => {
  const data = { list: [{ port: 1 }], none: null }
  assert.is(valueAt(data, ['list', 0, 'port']), 1)
  assert.equal([['list', 1, 'port'], ['none', 'port'], ['other']].map((path) => valueAt(data, path)), [undefined, undefined, undefined])
})

test('where a value stands, and where its key', async () => {
  const { data, place, keyPlace } = await read('# first\nnet:\n  servers:\n    - 1.1.1.1\n    - 8.8.8.8\n')
  assert.equal(data, { net: { servers: ['1.1.1.1', '8.8.8.8'] } })
  assert.equal(place(['net', 'servers', 1]), { line: 5, value: '8.8.8.8' })
  assert.equal(keyPlace(['net', 'servers']), { line: 3, value: 'servers' })
  assert.is(place(['net', 'other']), undefined)
})

test('what stands below an alias stands at its anchor', async () => {
  const { place } = await read('a: &size\n  cpus: 4\nb: *size\n')
  assert.equal(place(['b', 'cpus']), { line: 2, value: '4' })
})

test('a key that is there twice is told, and the rest can be judged', async () => {
  const { data, faults } = await read('a: 1\nb: 2\na: 3\n')
  assert.equal(faults.map(({ line, what, expected }) => `${line} ${what}: ${expected}`), ['3 key: each key once'])
  assert.is(valueAt(data, ['b']), 2)
})

test('what is no YAML is told with its line', async () => {
  assert.equal(await faultsOf('a:\n\tb: 1\n'), ['2 indentation b: 1'])
  assert.equal(await faultsOf('a: 1\n---\nb: 2\n'), ['2 document ---'])
  assert.equal(await faultsOf('a: 1\nb: [1, 2\n'), ['3 YAML '])
  assert.equal(await faultsOf('a: 1\nb: *nothing\n'), ['2 alias b: *nothing'])
})

test.run()
