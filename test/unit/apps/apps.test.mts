import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { deployCoreApps } from '../../../09_k3s_06_deploy_core_apps.mts'
import { chosenApps, enabledApps, incomplete } from '../../../lib/apps/apps.mts'
import { renderFault } from '../../../lib/base/errors.mts'
import { defaultSettings, type Settings } from '../../../lib/input/settings.mts'
import type { Run } from '../../../lib/run/run.mts'
import type { ClusterStep } from '../../../lib/run/step.mts'

const settingsWith = (change: (settings: Settings) => void = () => {}): Settings => {
  const settings = defaultSettings()
  settings.apps.api.image = settings.apps.front.image = 'ghcr.io/keybuzzio/one:1'
  change(settings)
  return settings
}
const faultsOf = (settings: Settings): string => {
  const apps = enabledApps(settings)
  const faults = incomplete(settings, apps)
  return faults.length > 0 ? faults.map(renderFault).join('\n') : apps.map(({ name }) => name).join(' ')
}

test('the applications come in their order, those that are not enabled are left out', () => {
  assert.is(faultsOf(settingsWith()), 'api front chatwoot n8n')
  assert.is(faultsOf(settingsWith(({ apps }) => Object.assign(apps.superset, { enabled: true }))), 'api front chatwoot n8n superset')
})

test('all that is missing is told at once: images, and the addresses of backends', () => {
  const words = faultsOf(settingsWith(({ apps, backends }) => {
    apps.front.image = ''
    backends.minio.address = ''
  }))
  assert.match(words, /apps\.front\.image/)
  assert.match(words, /backends\.minio\.address.*KeyBuzz API uses it/)
  assert.match(words, /backends\.minio\.address.*Chatwoot uses it/)
})

test('a secret among the variables of the settings is refused', () => {
  const words = faultsOf(settingsWith(({ apps }) => Object.assign(apps.n8n.environment, { N8N_ENCRYPTION_KEY: 'x', N8N_LOG_LEVEL: 'debug' })))
  assert.match(words, /apps\.n8n\.environment\.N8N_ENCRYPTION_KEY/)
  assert.not.match(words, /LOG_LEVEL/)
})

test('one application is chosen by its name, and another name is refused with what there is', () => {
  const enabled = enabledApps(settingsWith())
  assert.equal(chosenApps(enabled, 'n8n').map(({ name }) => name), ['n8n'])
  assert.throws(() => chosenApps(enabled, 'n9n'), /--app.*Did you mean n8n\?/)
  assert.throws(() => chosenApps(enabled, 'superset'), /enable it in settings\.yaml/)
})

test('a validation tells what settings lack in a step, so that the other scripts are told too', async () => {
  const told: string[] = []
  const settings = defaultSettings()
  const run = {
    mode: 'validate', settings, skipRest: () => void told.push('skipped'),
    once: async (steps: ClusterStep[]) => void told.push(...await Promise.all(steps.map(({ check }) => check())))
  }
  await deployCoreApps.story(run as unknown as Run, { app: undefined, secrets: undefined, render: undefined } as never)
  assert.match(told[0]!, /^settings\.yaml apps\.api\.image: expected an image with a tag/)
  assert.is(told[1], 'skipped')
})

test('api that gets its secrets from Vault needs to know the command of its image', () => {
  const settings = defaultSettings()
  settings.apps.api.image = 'ghcr.io/keybuzzio/platform-api:1.0.0'
  settings.apps.front.image = 'ghcr.io/keybuzzio/platform-front:1.0.0'
  settings.vault.apps = ['api']
  assert.equal(incomplete(settings, enabledApps(settings)).map(({ what }) => what), ['apps.api.command'])
  settings.apps.api.command = ['node', 'server.js']
  assert.equal(incomplete(settings, enabledApps(settings)), [])
  settings.backends.vault.address = ''
  assert.equal(incomplete(settings, enabledApps(settings)).map(({ what }) => what), ['backends.vault.address'])
})

test.run()
