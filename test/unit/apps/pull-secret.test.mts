import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { api } from '../../../lib/apps/api.mts'
import { hasPullSecret } from '../../../lib/apps/pull-secret.mts'
import { redact, Secret } from '../../../lib/input/secrets.mts'
import { defaultSettings } from '../../../lib/input/settings.mts'
import type { Secrets } from '../../../lib/secrets/holder.mts'
import { fakeSecrets } from '../../support/fake-secrets.mts'

const settings = defaultSettings()
settings.apps.registry.user = 'bot'

test('the Secret to pull images with holds user and password of the registry, in the form of its type', async () => {
  const { kubectl, put, get, commands } = fakeSecrets()
  const secrets: Secrets = { given: [], known: new Map() }
  const step = hasPullSecret({ settings, kubectl }, api(settings), secrets)
  assert.is(await step.check(), 'waits for registry-password')
  secrets.known.set('registry-password', new Secret('hidden:"of registry'))
  assert.is(await step.check(), 'is missing')
  put('keybuzz-api/registry', { password: 'hidden' })
  assert.is(await step.check(), 'is of the type Opaque; missing: .dockerconfigjson; too many: password')
  await step.change!()
  assert.is(await step.check(), '')
  const { type, data } = get('keybuzz-api/registry')!
  assert.is(type, 'kubernetes.io/dockerconfigjson')
  const { auths } = JSON.parse(data['.dockerconfigjson']!) as { auths: Record<string, { auth: string }> }
  assert.equal(Object.keys(auths), ['ghcr.io'])
  assert.is(Buffer.from(auths['ghcr.io']!.auth, 'base64').toString(), 'bot:hidden:"of registry')
  assert.is(redact(auths['ghcr.io']!.auth), '[secret]')
  assert.not.match(`${commands.join('\n')}${step.look}${step.byHand}`, /hidden/)
})

test.run()
