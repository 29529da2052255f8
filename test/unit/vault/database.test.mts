import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Secret } from '../../../lib/input/secrets.mts'
import { defaultSettings } from '../../../lib/input/settings.mts'
import { type Data, type Vault, VaultError } from '../../../lib/reach/vault.mts'
import type { Secrets } from '../../../lib/secrets/holder.mts'
import { databasePassword, givenOf, knowsPostgres, makesUsers } from '../../../lib/vault/database.mts'
import { fakeVault } from '../../support/fake-vault.mts'

const settings = defaultSettings()
const secrets = { given: [], known: new Map([[databasePassword, new Secret('of-vault')]]) }

// A Vault that logs in to PostgreSQL with the password that was last written, and lays its connection out as the real one.
// What it has logged in with once serves on, until it is told to log in anew.
const withDatabase = (password: string) => {
  const revoked: unknown[] = []
  let loggedIn = false
  const logIn = (asked: string): void => {
    loggedIn ||= password === 'of-vault'
    if (!loggedIn) throw new VaultError(`Vault refuses ${asked} (500): password authentication failed`, 500)
  }
  const { vault, kept } = fakeVault({
    answer: (method, path, data) => {
      if (method === 'write' && path === 'database/config/postgres') {
        const { username, connection_url, password: given, ...rest } = data as Data
        password = given as string
        loggedIn = false
        kept[path] = { ...rest, connection_details: { username, connection_url } }
        return {}
      }
      if (path === 'sys/leases/revoke') {
        revoked.push(data)
        return {}
      }
      if (path === 'database/reset/postgres') {
        assert.is(method, 'write')
        loggedIn = false
        logIn('POST database/reset/postgres')
        return {}
      }
      if (path !== 'database/creds/api') return undefined
      logIn('GET database/creds/api')
      return { data: { username: 'v-api', password: 'x' }, lease_id: 'database/creds/api/1' }
    }
  })
  return { vault, kept, revoked, changePassword: () => (password = 'of-before') }
}

const client = { app: 'api', namespace: 'keybuzz-api', account: 'api' }
const stepsOf = (vault: Vault, known: Secrets) => [knowsPostgres(vault, settings, known), ...makesUsers(vault, settings, known, client)]

test('Vault gets the connection and the role, and a trial gives its user back', async () => {
  const { vault, kept, revoked } = withDatabase('')
  const steps = stepsOf(vault, secrets)
  for (const step of steps.slice(0, 2)) {
    assert.is(await step.check(), 'is missing', step.name)
    await step.change!()
  }
  for (const step of steps) assert.is(await step.check(), '', step.name)
  assert.is(kept['database/config/postgres']!['password'], undefined)
  assert.is(kept['database/roles/api']!['default_ttl'], 24 * 3600)
  assert.equal(revoked, [{ lease_id: 'database/creds/api/1' }])
})

test('a password that PostgreSQL refuses is written anew', async () => {
  const { vault } = withDatabase('of-vault')
  const [knows, , makes] = stepsOf(vault, secrets)
  await knows!.change!()
  const other = stepsOf(vault, { given: [], known: new Map([[databasePassword, new Secret('another')]]) })
  await other[0]!.change!()
  assert.match(await makes!.check(), /password authentication failed/)
  await makes!.change!()
  assert.is(await makes!.check(), '')
})

test('a password that was changed at PostgreSQL reaches Vault, also while it is still logged in with the old one', async () => {
  const { vault, changePassword } = withDatabase('of-vault')
  const [knows, may, makes] = stepsOf(vault, secrets)
  for (const step of [knows!, may!]) await step.change!()
  assert.is(await makes!.check(), '')
  changePassword()
  assert.match(await makes!.check(), /reset\/postgres \(500\): password authentication failed/)
  await makes!.change!()
  assert.is(await makes!.check(), '')
})

test('its password is asked for with its role', () => {
  assert.equal(givenOf(settings).map(({ name, what }) => [name, what.includes('role keybuzz_vault')]), [[databasePassword, true]])
})

test('a password is never in what an operator is shown', () => {
  for (const { byHand = '', look } of stepsOf(fakeVault().vault, secrets)) assert.not.match(`${look}${byHand}`, /of-vault/)
})

test('the users of an application act as its role from their first statement on', async () => {
  const { vault, kept } = fakeVault()
  const [role] = makesUsers(vault, settings, secrets, { ...client, role: 'keybuzz' })
  await role!.change!()
  assert.equal(kept['database/roles/api']!['creation_statements'], [
    `CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}' IN ROLE "keybuzz"`,
    `ALTER ROLE "{{name}}" SET role TO 'keybuzz'`
  ])
})

test.run()
