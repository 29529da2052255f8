import { createHash } from 'node:crypto'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { defaultSettings } from '../../../lib/input/settings.mts'
import { canaryFiles, hasCanarySecret, injects } from '../../../lib/vault/canary.mts'
import { fakeKubectl } from '../../support/fake-kubectl.mts'
import { fakeVault } from '../../support/fake-vault.mts'

const settings = defaultSettings()
const { signal } = new AbortController()
const path = 'keybuzz/data/vault-canary'

// A cluster in which the Job ends with this log.
const ended = (log: string) => {
  const commands: string[] = []
  const kubectl = fakeKubectl((command) => {
    commands.push(command.split(' ').slice(0, 4).join(' '))
    if (command.includes('get job')) return JSON.stringify({
      metadata: { generation: 1 }, spec: { completions: 1, selector: { matchLabels: { app: 'canary' } } }, status: { succeeded: 1 }
    })
    if (command.includes('get pods')) return '{"items":[]}'
    if (command.includes(' logs ')) return log
    return ''
  })
  return { kubectl, commands }
}
const hash = (value: string): string => createHash('sha256').update(value).digest('hex')
const read = (value: string): string => `${hash(value)}  -\nand a user of PostgreSQL\n`

test('the canary gets a secret once', async () => {
  const { vault, kept } = fakeVault()
  const step = hasCanarySecret(vault, settings)
  assert.is(await step.check(), 'is missing')
  assert.match(step.byHand!, / value=@<\(openssl rand -hex 32 \| tr -d '\\n'\)$/) // an argument could be seen in a list of processes
  await step.change!()
  assert.match((kept[path]!['data'] as { value: string }).value, /^[0-9a-f]{64}$/)
  assert.is(await step.check(), '')
})

test('its pod asks for that, and for a user of PostgreSQL', () => {
  assert.equal(Object.keys(canaryFiles(settings)), ['value', 'user'])
})

test('what the pod has read is compared with what Vault has, and the Job goes', async () => {
  const { vault } = fakeVault({ kept: { [path]: { data: { value: 'one' } } } })
  const { kubectl, commands } = ended(read('one'))
  assert.is(await injects({ kubectl, settings, signal }, vault).check(), '= a secret, and a user of PostgreSQL')
  assert.ok(commands.at(-1)?.startsWith('delete'), commands.join('\n'))
  assert.is(await injects({ kubectl: ended(read('two')).kubectl, settings, signal }, vault).check(), 'it read another secret than Vault has')
  assert.match(await injects({ kubectl: ended(`${hash('one')}  -\n`).kubectl, settings, signal }, vault).check(), /no user of PostgreSQL/)
})

test('without a token of Vault what it has read cannot be compared', async () => {
  assert.is(await injects({ kubectl: ended(read('any')).kubectl, settings, signal }, undefined).check(), '= a secret, and a user of PostgreSQL')
})

test.run()
