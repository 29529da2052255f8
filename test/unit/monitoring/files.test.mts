import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { parse } from 'yaml'
import { configMap, filesIn } from '../../../lib/monitoring/files.mts'

test('files are read by their ending, literally', async () => {
  const files = await filesIn('prometheus', '.yaml')
  assert.ok(Object.keys(files).includes('config.yaml'))
  assert.match(files['config.yaml']!, '${POSTGRES}')
  assert.equal(await filesIn('prometheus', '.json'), {})
})

test('a folder that is not there has no files', async () => {
  assert.equal(await filesIn('no-such-folder', '.yaml'), {})
})

test('a ConfigMap holds its files as they are', () => {
  const text = 'a: "{{ $labels.node }}"\n  # ${NOT_FILLED}\n\ttab\n'
  assert.equal(parse(configMap('rules', { 'a.yaml': text })), {
    apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'rules', namespace: 'monitoring' }, data: { 'a.yaml': text }
  })
})

test('one that the API would refuse is told before', () => {
  assert.throws(() => configMap('rules', { a: 'x'.repeat(600_000), b: 'x'.repeat(600_000) }), 'would have 1200000 bytes')
})

test.run()
