// The lab's passwords: the same in every lab, and odd enough that wrong quoting shows.
import { readFile } from 'node:fs/promises'
import { globSync } from 'node:fs'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { adminSecrets, asEnvironment, givenSecrets } from '../lab/secrets.mts'

const all = { ...givenSecrets, ...adminSecrets }
const images = new URL('../lab/images/backends/rootfs/usr/local/lib/lab/', import.meta.url).pathname

test('every password differs from the others', () => {
  assert.is(new Set(Object.values(all)).size, Object.keys(all).length)
})

test('each is one line that says it whole, without quotes', () => {
  for (const line of asEnvironment(all)) assert.match(line, /^KEYBUZZ_[A-Z0-9_]+=\S(.*\S)?$/)
})

test('passwords have signs that mean something in a URL, in shell and in YAML', () => {
  for (const sign of ['@', ':', '/', '#', '%', '?', '&', '+', '=', ' ', '$(', "'", '"', '\\', '{', '<'])
    assert.ok(Object.values(givenSecrets).some((value) => value.includes(sign)), sign)
  for (const name of ['KEYBUZZ_API_POSTGRES_PASSWORD', 'KEYBUZZ_API_RABBITMQ_PASSWORD', 'KEYBUZZ_REDIS_PASSWORD'])
    assert.match(givenSecrets[name]!, /[@:/#%]/)
})

test("MinIO's keys are of the lengths that it takes", () => {
  const length = (kind: string): number[] => Object.entries(all).filter(([name]) => name.endsWith(kind)).map(([, value]) => value.length)
  assert.equal(length('_ACCESS_KEY'), [20, 20, 20])
  assert.equal(length('_SECRET_KEY'), [40, 40, 40])
})

test('the stateful services take no secret that is not there', async () => {
  const texts = await Promise.all(globSync(`${images}*`).map((file) => readFile(file, 'utf8')))
  const taken = texts.flatMap((text) => [...text.matchAll(/secret (KEYBUZZ_\w+)/g)].map(([, name = '']) => name))
  assert.ok(taken.length > 10)
  assert.equal(taken.filter((name) => !(name in all)), [])
})

test.run()
