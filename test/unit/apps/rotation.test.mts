import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { n8n } from '../../../lib/apps/n8n.mts'
import { hasValidUsers, isRotated, untilTimeOfDay } from '../../../lib/apps/rotation.mts'
import { Secret } from '../../../lib/input/secrets.mts'
import { defaultSettings } from '../../../lib/input/settings.mts'
import { fakeKubectl } from '../../support/fake-kubectl.mts'
import { fakePostgres } from '../../support/fake-postgres.mts'
import { withServer } from '../../support/servers.mts'

const { signal } = new AbortController()
const secrets = { given: [], known: new Map([['n8n-postgres-password', new Secret('of n8n')]]) }

const usersWith = async (row: { users: number; left: number | null; own: number }): Promise<string> => {
  let words = ''
  await withServer(fakePostgres({ row: () => row }), async (port) => {
    const settings = defaultSettings()
    Object.assign(settings.backends.postgres, { address: '127.0.0.1', port })
    words = await hasValidUsers({ settings, signal }, n8n(settings), secrets).check()
  })
  return words
}

test('users of Vault are evidence, with the time that is left', async () => {
  assert.is(await usersWith({ users: 5, left: 7300, own: 0 }), '= 5, and the first of them ends in 2 h unless it is renewed')
  assert.is(await usersWith({ users: 0, left: null, own: 2 }), '= none is logged in at this moment\n= 2 connections are of the role n8n itself')
})

test('a user that has ended under its pod is a fault', async () => {
  assert.is(await usersWith({ users: 5, left: -130, own: 0 }), 'one that a pod uses has ended 2 min ago: it gets no new connection')
})

const rotated = (suspend: boolean, hours: number[]): Promise<string> => {
  const settings = defaultSettings()
  const pod = (age: number, index: number) => ({ metadata: {
    name: `pod-${index}`, creationTimestamp: new Date(Date.now() - age * 3_600_000).toISOString(), annotations: { 'keybuzz.io/vault-agent': 'vault-agent' },
    ownerReferences: [{ kind: 'ReplicaSet' }]
  } })
  const old = { metadata: { name: 'a-migration', creationTimestamp: new Date(0).toISOString(), annotations: { 'keybuzz.io/vault-agent': 'vault-agent' }, ownerReferences: [{ kind: 'Job' }] } }
  const kubectl = fakeKubectl((command) => JSON.stringify(command.includes('cronjob') ? { spec: { suspend } } : { items: [...hours.map(pod), old] }))
  return isRotated({ settings, kubectl }, n8n(settings)).check()
}

test('the next rotation is told, and a pod that was not replaced in time', async () => {
  assert.match(await rotated(false, [3, 30]), /^= the next time in [01]\.\d days, at 03:30 UTC, the oldest pod is 30 h old of 72 h at most$/)
  assert.is(await rotated(false, [3, 49]), 'pod-1 is 49 h old, and its user of PostgreSQL ends at 72 h')
  assert.is(await rotated(true, [3]), 'the CronJob keybuzz-n8n/rotation is suspended')
})

test('a time of the day is today, or tomorrow', () => {
  const now = new Date('2026-11-27T12:00:00Z')
  assert.is(untilTimeOfDay('12:30', now), 30 * 60_000)
  assert.is(untilTimeOfDay('12:00', now), 24 * 3_600_000)
  assert.is(untilTimeOfDay('11:00', now), 23 * 3_600_000)
})

test.run()
