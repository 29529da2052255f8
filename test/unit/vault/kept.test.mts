import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Secret } from '../../../lib/input/secrets.mts'
import { defaultSettings } from '../../../lib/input/settings.mts'
import type { Holder } from '../../../lib/secrets/holder.mts'
import { keepsSecrets } from '../../../lib/vault/kept.mts'
import { fakeVault } from '../../support/fake-vault.mts'

const settings = defaultSettings()
const holder: Holder = {
  name: 'api', namespace: 'keybuzz-api', title: 'KeyBuzz API', given: [{ name: 'redis-password', what: 'password of Redis' }], made: [],
  secret: (of) => ({ REDIS_URL: `redis://:${encodeURIComponent(of('redis-password'))}@x` })
}
const secretsOf = (value?: string) => ({ given: [], known: new Map(value === undefined ? [] : [['redis-password', new Secret(value)]]) })

test('Vault gets an application\'s secrets, and what differs is told by its key', async () => {
  const { vault, kept } = fakeVault()
  const step = keepsSecrets(vault, settings, holder, secretsOf('first value'))
  assert.is(await step.check(), 'is missing')
  await step.change!()
  assert.equal(kept['keybuzz/data/api'], { data: { REDIS_URL: 'redis://:first%20value@x' } })
  assert.is(await step.check(), '')
  kept['keybuzz/data/api'] = { data: { REDIS_URL: 'another one', OLD: 'x' } }
  assert.is(await step.check(), 'different: REDIS_URL; too many: OLD')
})

test('a secret that is not known yet is waited for', async () => {
  assert.is(await keepsSecrets(fakeVault().vault, settings, holder, secretsOf()).check(), 'waits for redis-password')
})

test('by hand no value is an argument', () => {
  const { byHand = '' } = keepsSecrets(fakeVault().vault, settings, holder, secretsOf('hidden'))
  assert.match(byHand, /^kept\(\).*\n.*encoded\(\)[^]*vault kv put -mount=keybuzz api \\\n {2}REDIS_URL=@<\(/)
  assert.not.match(byHand, /hidden/)
})

test.run()
