import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { appNames, namespaceOf } from '../../../lib/apps/app.mts'
import { defaultSettings } from '../../../lib/input/settings.mts'

test('each application has settings of its name, and they say whether it is enabled', () => {
  const { apps } = defaultSettings()
  const enabled = Object.entries(apps).flatMap(([name, value]) => (typeof value === 'object' && 'enabled' in value ? [name] : []))
  assert.equal(enabled, [...appNames])
})

test('each has a namespace', () => {
  assert.is(namespaceOf('n8n'), 'keybuzz-n8n')
})

test.run()
