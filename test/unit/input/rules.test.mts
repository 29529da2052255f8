import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { conflicts } from '../../../lib/input/rules.mts'
import { defaultSettings } from '../../../lib/input/settings.mts'
import { pathText } from '../../../lib/input/yaml.mts'

test('the defaults fit together', () => {
  assert.equal(conflicts(defaultSettings()), [])
})

test('the rules of every subject are asked', () => {
  const settings = defaultSettings()
  settings.network.cluster_dns = '10.99.0.10'
  settings.apps.front.host = settings.apps.api.host
  assert.equal(conflicts(settings).map(({ path }) => pathText(path)), ['network.cluster_dns', 'apps.front.host'])
})

test('n8n and its runners have one tag, whatever their registry and digest', () => {
  const told = (image: string, runners_image: string): string[] => {
    const settings = defaultSettings()
    Object.assign(settings.apps.n8n, { image, runners_image })
    return conflicts(settings).map(({ path }) => pathText(path))
  }
  assert.equal(told('docker.io/n8nio/n8n:2.50.0', 'localhost:5000/runners:2.50.0'), [])
  assert.equal(told(`docker.io/n8nio/n8n:2.50.0@sha256:${'a'.repeat(64)}`, 'docker.io/n8nio/runners:2.50.0'), [])
  assert.equal(told('docker.io/n8nio/n8n:2.50.0', 'docker.io/n8nio/runners:2.48.5'), ['apps.n8n.runners_image'])
})

test.run()
