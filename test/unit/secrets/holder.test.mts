import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { api } from '../../../lib/apps/api.mts'
import { dataOf, fileOf, keyOf, ofSecrets, pathOf, templateOf, unknownOf, variableOf } from '../../../lib/secrets/holder.mts'
import { redact, Secret } from '../../../lib/input/secrets.mts'
import { defaultSettings } from '../../../lib/input/settings.mts'

const settings = defaultSettings()
const app = api(settings)
const known = new Map([...app.given, ...app.made].map(({ name }) => [name, new Secret(`value-of/${name}`)]))

test('a secret has one name: as a variable, and as a file of its environment', () => {
  assert.is(variableOf('n8n-postgres-password'), 'KEYBUZZ_N8N_POSTGRES_PASSWORD')
  assert.is(fileOf({ ...settings, environment: 'staging' }, 'redis-password'), 'staging-redis-password')
  assert.is(pathOf(settings, 'redis-password'), '~/.keybuzz/secrets/prod-redis-password')
})

test('only known secrets have a value', () => {
  assert.is(ofSecrets(known)('redis-password'), 'value-of/redis-password')
  assert.throws(() => ofSecrets(known)('redis-pasword'), /^the secret redis-pasword is not known$/)
  assert.equal(unknownOf(app, { given: [], known }), [])
  const fewer = new Map([...known].filter(([name]) => !/redis|secret-key/.test(name)))
  assert.equal(unknownOf(app, { given: [], known: fewer }), ['redis-password', 'api-minio-secret-key', 'api-secret-key'])
})

test('a made secret is found under the key where it stands alone', () => {
  assert.is(keyOf(app, 'api-secret-key'), 'SECRET_KEY')
  assert.throws(() => keyOf(app, 'redis-password'), /^the Secret of api has no key for redis-password alone$/)
  assert.is(templateOf(app)['REDIS_URL'], 'redis://:%7B%7Bredis-password%7D%7D@10.0.0.10:6379/0')
})

test('an address with a password in it is a secret too', () => {
  const { DATABASE_URL = '', MINIO_SECRET_KEY } = dataOf(app, { given: [], known })
  assert.is(DATABASE_URL, 'postgresql://keybuzz:value-of%2Fapi-postgres-password@10.0.0.10:5432/keybuzz')
  assert.is(MINIO_SECRET_KEY, 'value-of/api-minio-secret-key')
  assert.is(redact(`connect to ${DATABASE_URL}: ${Buffer.from(DATABASE_URL).toString('base64')}`), 'connect to [secret]: [secret]')
})

test.run()
