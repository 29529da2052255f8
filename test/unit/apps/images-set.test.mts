import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { imagesMissing } from '../../../lib/apps/images-set.mts'
import { renderFault } from '../../../lib/base/errors.mts'
import { defaultSettings } from '../../../lib/input/settings.mts'

test('an enabled application without an image is told, with both ways out', () => {
  assert.equal(imagesMissing(defaultSettings()).map(renderFault), [
    'settings.yaml apps.api.image: expected an image with a tag. Set it, or set apps.api.enabled to false.',
    'settings.yaml apps.front.image: expected an image with a tag. Set it, or set apps.front.enabled to false.'
  ])
})

test('one that has an image, or is not enabled, is in order', () => {
  const settings = defaultSettings()
  settings.apps.api.image = 'ghcr.io/keybuzzio/platform-api:1.0.0'
  settings.apps.front.enabled = false
  assert.equal(imagesMissing(settings), [])
})

test.run()
