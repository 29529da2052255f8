import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { parse } from 'yaml'
import { pullSecrets } from '../../../lib/apps/values.mts'
import { defaultSettings } from '../../../lib/input/settings.mts'

test('images are pulled with a password only where the settings name a user', () => {
  const settings = defaultSettings()
  assert.equal(parse(pullSecrets(settings)), [])
  settings.apps.registry.user = 'robot'
  assert.equal(parse(pullSecrets(settings)), [{ name: 'registry' }])
})

test.run()
