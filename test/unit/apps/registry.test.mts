import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { api } from '../../../lib/apps/api.mts'
import { front } from '../../../lib/apps/front.mts'
import { needsRegistry, registrySecret } from '../../../lib/apps/registry.mts'
import { defaultSettings } from '../../../lib/input/settings.mts'

const settings = defaultSettings()
const registry = { ...settings, apps: { ...settings.apps, registry: { server: 'ghcr.io', user: 'bot' } } }
const [own, other] = [api(settings), { ...front(settings), isPrivate: false }]

test('the password of the registry is asked for once, where an application is private and the registry has a user', () => {
  assert.equal(registrySecret(registry, [own, own]), [{ name: 'registry-password', what: 'password of the registry bot@ghcr.io' }])
  assert.equal(registrySecret(registry, [other]), [])
  assert.equal(registrySecret(settings, [own]), [])
  assert.equal([needsRegistry(registry, own), needsRegistry(settings, own), needsRegistry(registry, other)], [true, false, false])
})

test.run()
