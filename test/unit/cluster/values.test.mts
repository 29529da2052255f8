import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { parse } from 'yaml'
import { inYaml, resourceValues } from '../../../lib/cluster/values.mts'

test('resources are placeholders, those of a second container with a prefix', () => {
  const resources = { cpus: 0.25, memory: 256, most_memory: 512 }
  assert.equal(resourceValues(resources), { CPUS: 0.25, MEMORY: 256, MOST_MEMORY: 512 })
  assert.equal(resourceValues(resources, 'RUNNER_'), { RUNNER_CPUS: 0.25, RUNNER_MEMORY: 256, RUNNER_MOST_MEMORY: 512 })
})

test('text stays what it is in YAML', () => {
  const values = ['yes', '0123', '1e3', '', ' a: b # c', 'two\nlines\ttab', '"\'\\', '$HOME ${A}', '*a &b !c', 'é 😀']
  assert.equal(parse(inYaml(values)), values)
  assert.equal(parse(`{at: ${inYaml(values)}}`), { at: values })
})

test('what kubectl would refuse as a control character, or take for a line break, is written as an escape', () => {
  const value = 'a\u007fb\u0085c\u2028d\ufeffe\u0000f'
  assert.is(inYaml(value), '"a\\u007fb\\u0085c\\u2028d\\ufeffe\\u0000f"')
  assert.is(parse(inYaml(value)), value)
})

test.run()
