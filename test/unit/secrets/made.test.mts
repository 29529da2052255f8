import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Secrets } from '../../../lib/secrets/holder.mts'
import type { Copy } from '../../../lib/secrets/made.mts'
import { fakeSecrets } from '../../support/fake-secrets.mts'
import { commands, onNode } from '../../support/node-shell.mts'

const home = mkdtempSync(join(tmpdir(), 'keybuzz-made-'))
process.env['HOME'] = home
const { api } = await import('../../../lib/apps/api.mts')
const { hasMade, inSecret } = await import('../../../lib/secrets/made.mts')
const { Secret } = await import('../../../lib/input/secrets.mts')
const { defaultSettings } = await import('../../../lib/input/settings.mts')
const { Refusal } = await import('../../../lib/run/step.mts')

const settings = defaultSettings()
const app = api(settings)
const folder = join(home, '.keybuzz/secrets')
const file = join(folder, 'prod-api-secret-key')
test.before.each(() => {
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true, mode: 0o700 })
})

const stepOf = ({ knows = ['api-postgres-password'], used = async () => '', copy = {} as Partial<Copy> } = {}) => {
  const cluster = fakeSecrets()
  const secrets: Secrets = { given: app.given, known: new Map(knows.map((name) => [name, new Secret(`hidden-${name}`)])) }
  let asked = 0
  const step = hasMade({ settings, kubectl: cluster.kubectl }, app, secrets, () => (asked++, used()), { ...inSecret(cluster.kubectl, app), ...copy })
  return { step, cluster, secrets, value: () => secrets.known.get('api-secret-key')?.reveal(), asked: () => asked }
}
const refusal = async (checking: Promise<string>): Promise<string> => {
  const error = await checking.then(() => assert.unreachable('it did not refuse'), (thrown: unknown) => thrown)
  assert.instance(error, Refusal)
  return (error as Error).message
}

test('a key that nobody has is made once, where the application was never used', async () => {
  const { step, cluster, value } = stepOf()
  assert.is(await step.check(), 'api-secret-key is not made yet')
  assert.equal(readdirSync(folder), [])
  await step.change!()
  assert.is(await step.check(), '')
  const made = readFileSync(file, 'utf8')
  assert.match(made, /^[0-9a-f]{64}\n$/)
  assert.is(`${value()}\n`, made)
  assert.is(statSync(file).mode & 0o777, 0o600)
  await step.change!()
  assert.is(readFileSync(file, 'utf8'), made)
  assert.equal([cluster.sent, cluster.get('keybuzz-api/api')], [[], undefined])
})

test('one that the bastion alone has is good: the database is not asked, also where it is in use', async () => {
  writeFileSync(file, 'hidden-of-bastion\n')
  const { step, value, asked, cluster } = stepOf({ used: async () => 'keybuzz' })
  assert.is(await step.check(), '')
  assert.equal([value(), asked()], ['hidden-of-bastion', 0])
  cluster.put('keybuzz-api/api', { SECRET_KEY: 'hidden-of-bastion' })
  assert.is(await step.check(), '')
})

test('one that the cluster alone has is known in a plan, and kept by an apply', async () => {
  const { step, value, asked, cluster } = stepOf({ used: async () => 'keybuzz' })
  cluster.put('keybuzz-api/api', { SECRET_KEY: 'hidden-of-cluster' })
  assert.is(await step.check(), 'api-secret-key is only in the Secret keybuzz-api/api')
  assert.equal([value(), asked(), readdirSync(folder)], ['hidden-of-cluster', 0, []])
  await step.change!()
  assert.is(readFileSync(file, 'utf8'), 'hidden-of-cluster\n')
  assert.is(await step.check(), '')
})

test('two that differ are a refusal that says where they are, and how to tell which is right', async () => {
  writeFileSync(file, 'hidden-of-bastion\n')
  const { step, cluster } = stepOf()
  cluster.put('keybuzz-api/api', { SECRET_KEY: 'hidden-of-cluster' })
  const words = await refusal(step.check())
  assert.is(words, `~/.keybuzz/secrets/prod-api-secret-key is another one than SECRET_KEY in the Secret keybuzz-api/api
If KeyBuzz API works now, the file is wrong: rename it and run this again. If the file is right: kubectl -n keybuzz-api delete secret api
docs/app-secrets.md says how to tell`)
  assert.is(readFileSync(file, 'utf8'), 'hidden-of-bastion\n')
})

test('a lost one is never made anew: the refusal says where to look', async () => {
  const { step, cluster } = stepOf({ used: async () => 'keybuzz' })
  cluster.put('keybuzz-api/api', { REDIS_URL: 'hidden' })
  assert.is(await refusal(step.check()), `neither on this bastion nor in the Secret keybuzz-api/api: api-secret-key.
The database keybuzz is in use, and what KeyBuzz API has encrypted there needs them.
Look in ~/.keybuzz/secrets of other bastions, in backups, and for the Secret keybuzz-api/api in etcd's snapshots.
Put them into ~/.keybuzz/secrets/prod-api-secret-key and run this again: docs/app-secrets.md`)
  assert.equal(readdirSync(folder), [])
})

test('a lost one that may be somewhere else is looked for there first', async () => {
  const { step } = stepOf({ used: async () => 'keybuzz', copy: { elsewhere: async () => 'Vault may still have them: vault kv get -mount=keybuzz api' } })
  assert.match(await refusal(step.check()), /encrypted there needs them\.\nVault may still have them: vault kv get -mount=keybuzz api\nLook in /)
})

test('where a copy was not asked nothing is called lost', async () => {
  const { step, asked } = stepOf({ used: async () => 'keybuzz', copy: { unasked: 'Vault was not asked: there is no token of it' } })
  assert.is(await step.check(), 'api-secret-key is not on this bastion, and Vault was not asked: there is no token of it')
  assert.is(asked(), 0)
  writeFileSync(file, 'hidden-of-bastion\n')
  assert.is(await step.check(), '')
})

test('where the database cannot be asked nothing is made on a guess', async () => {
  const down = stepOf({ used: () => Promise.reject(new Error('10.0.0.10:5432 does not answer')) })
  await down.step.check().then(() => assert.unreachable(), (error: Error) => {
    assert.is(error.message, '10.0.0.10:5432 does not answer')
    assert.not.instance(error, Refusal)
  })
})

test('a cluster that does not answer is no cluster without the key', async () => {
  const { step, cluster } = stepOf()
  cluster.away(new Error('the API does not answer'))
  await step.check().then(() => assert.unreachable(), (error: Error) => assert.is(error.message, 'the API does not answer'))
})

const byHand = (key: string, code = 0): { files: string[]; compared: string } => {
  const { step } = stepOf()
  const kubectl = commands({ kubectl: `[[ "$*" == *'jsonpath={.data.SECRET_KEY}' ]] || exit 3\nprintf '%s' '${Buffer.from(key).toString('base64')}'; exit ${code}` })
  onNode(step.byHand!, { path: [kubectl] })
  const files = readdirSync(folder).map((name) => readFileSync(join(folder, name), 'utf8').trim())
  return { files, compared: onNode(step.look, { path: [kubectl] }).stdout }
}

test('by hand a key is taken from the cluster, else made, and never over one that is there', () => {
  assert.equal(byHand('of-cluster'), { files: ['of-cluster'], compared: '' })
  assert.is(statSync(file).mode & 0o777, 0o600)
  assert.equal(byHand('of-another').files, ['of-cluster'])
  assert.match(byHand('of-another').compared, /differ/)
  rmSync(file)
  assert.equal(byHand('', 1).files, [''], 'where the API does not answer none is made')
  assert.match(byHand('').files[0]!, /^[0-9a-f]{64}$/)
})

test.run()
