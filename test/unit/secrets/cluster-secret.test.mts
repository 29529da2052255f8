import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { parse } from 'yaml'
import { api } from '../../../lib/apps/api.mts'
import { checksum, hasSecret, readData } from '../../../lib/secrets/cluster-secret.mts'
import type { Secrets } from '../../../lib/secrets/holder.mts'
import { redact, Secret } from '../../../lib/input/secrets.mts'
import { defaultSettings } from '../../../lib/input/settings.mts'
import { fakeSecrets } from '../../support/fake-secrets.mts'

const settings = defaultSettings()
settings.apps.registry.user = 'bot'
const app = api(settings)
const secretsOf = (more: Record<string, string> = {}): Secrets => ({
  given: app.given,
  known: new Map([...app.given, ...app.made].map(({ name }) => [name, new Secret(more[name] ?? `hidden/${name}`)]))
})
const stepOf = (secrets = secretsOf()) => {
  const cluster = fakeSecrets()
  return { ...cluster, secrets, step: hasSecret({ settings, kubectl: cluster.kubectl }, app, secrets) }
}
const place = 'keybuzz-api/api'

test('the Secret of an application is made, and holds exactly its data', async () => {
  const { step, get, commands } = stepOf()
  assert.is(await step.check(), 'is missing')
  await step.change!()
  assert.is(await step.check(), '')
  assert.equal(get(place)!.type, 'Opaque')
  assert.equal(get(place)!.data['REDIS_URL'], 'redis://:hidden%2Fredis-password@10.0.0.10:6379/0')
  assert.equal(get(place)!.data['SECRET_KEY'], 'hidden/api-secret-key')
  assert.is(commands.filter((command) => command.startsWith('replace')).length, 0)
})

test('its words name the keys that are missing, different, or too many; no value is in words or commands', async () => {
  const { step, put, get, commands } = stepOf()
  put(place, { DATABASE_URL: 'hidden', MINIO_ACCESS_KEY: 'hidden/api-minio-access-key', SECRET_KEY: '', OLD: 'hidden' })
  const words = await step.check()
  assert.is(words, 'missing: REDIS_URL, RABBITMQ_URL, MINIO_SECRET_KEY; different: DATABASE_URL, SECRET_KEY; too many: OLD')
  await step.change!()
  assert.is(await step.check(), '')
  assert.not('OLD' in get(place)!.data, 'a key of somebody else goes too')
  assert.not.match(`${commands.join('\n')}${words}${step.name}${step.look}${step.byHand}`, /hidden/)
})

test('a key that is no longer wanted goes with the apply itself: data has it, not stringData', async () => {
  const { step, sent, kubectl, secrets, get, commands } = stepOf()
  await step.change!()
  const fewer = hasSecret({ settings, kubectl }, { ...app, secret: (of) => ({ SECRET_KEY: of('api-secret-key') }) }, secrets)
  assert.match(await fewer.check(), /^too many: DATABASE_URL, /)
  await fewer.change!()
  assert.equal(get(place)!.data, { SECRET_KEY: 'hidden/api-secret-key' })
  assert.not.ok(commands.some((command) => command.startsWith('replace')))
  assert.not.ok(sent.some((text) => text.includes('stringData')))
})

test('a changed password is another value of one key', async () => {
  const { step, kubectl } = stepOf()
  await step.change!()
  const changed = hasSecret({ settings, kubectl }, app, secretsOf({ 'redis-password': 'hidden anew' }))
  assert.is(await changed.check(), 'different: REDIS_URL')
})

test('in a plan, where secrets are not known or the namespace is not there, it only waits', async () => {
  const secrets = secretsOf()
  secrets.known.delete('redis-password')
  secrets.known.delete('api-secret-key')
  const { step, commands } = stepOf(secrets)
  assert.is(await step.check(), 'waits for redis-password, api-secret-key')
  assert.equal(commands, [])
  secrets.known.set('redis-password', new Secret('hidden/redis')).set('api-secret-key', new Secret('hidden/key'))
  assert.is(await step.check(), 'is missing')
})

test('what kubectl could say of a Secret is struck out', async () => {
  await stepOf().step.change!()
  const url = 'redis://:hidden%2Fredis-password@10.0.0.10:6379/0'
  assert.is(redact(`invalid value ${url}, ${Buffer.from(url).toString('base64')}`), 'invalid value [secret], [secret]')
})

test('a Secret without data is read as one', async () => {
  const { kubectl, put } = stepOf()
  put('a/b', {})
  assert.equal([await readData(kubectl, { namespace: 'a', name: 'b' }), await readData(kubectl, { namespace: 'a', name: 'c' })], [{ type: 'Opaque', data: {} }, undefined])
})

test('the checksum follows each text and each value, and is the same for the same ones', () => {
  const sum = checksum(app, secretsOf(), ['one', 'two'])
  assert.match(sum, /^c[0-9a-f]{16}$/)
  const reversed: Secrets = { given: [], known: new Map([...secretsOf().known].toReversed()) }
  assert.is(checksum(app, reversed, ['one', 'two']), sum)
  const { secret } = app
  assert.is(checksum({ ...app, secret: (of) => Object.fromEntries(Object.entries(secret(of)).toReversed()) }, secretsOf(), ['one', 'two']), sum)
  const others = [
    checksum(app, secretsOf(), ['onetwo']),
    checksum(app, secretsOf(), ['two', 'one']),
    ...[...app.given, ...app.made].map(({ name }) => checksum(app, secretsOf({ [name]: 'hidden anew' }), ['one', 'two']))
  ]
  assert.is(new Set([...others, sum]).size, others.length + 1)
})

test('YAML reads every checksum as text', () => {
  const numbers = Array.from({ length: 2000 }, (_, index) => checksum(app, secretsOf(), [String(index)])).filter((sum) => typeof parse(sum) !== 'string')
  assert.equal(numbers, [])
})

test('where a secret is not known the checksum is not either', () => {
  const secrets = secretsOf()
  secrets.known.delete('api-secret-key')
  assert.is(checksum(app, secrets, []), 'unknown')
})

test('no checksum betrays a password: an application that has one also has a made secret in its Secret', () => {
  assert.throws(() => checksum({ ...app, made: [] }, secretsOf(), []), /^api has passwords and no made secret: its checksum would betray them$/)
  assert.match(checksum({ ...app, given: [], made: [], secret: () => ({}) }, secretsOf(), []), /^c[0-9a-f]{16}$/)
})

test.run()
