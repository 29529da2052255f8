// What the event says of the two pods. Nothing is taken away here.
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { EventContext } from '../../../lib/drill/events.mts'
import { loseVault } from '../../../lib/drill/vault.mts'
import { defaultSettings } from '../../../lib/input/settings.mts'
import { createSsh } from '../../../lib/reach/ssh.mts'
import { fakeKubectl } from '../../support/fake-kubectl.mts'

const pods = new Map<string, boolean>()
let secret = 'abc'
const scripts: string[] = []
const notes: string[] = []
const run = new AbortController()
const kubectl = fakeKubectl((command, { input, signal = run.signal } = {}) => {
  signal.throwIfAborted()
  if (command.startsWith('apply')) {
    const name = /name: (drill-\w+)/.exec(String(input))![1]!
    pods.set(name, name === 'drill-runs')
  }
  if (command.includes('delete pods')) pods.clear()
  if (command.includes('exec drill-runs')) {
    if (secret === '') throw new Error('exit 1')
    return secret
  }
  if (!command.includes('get pods')) return ''
  return JSON.stringify({ items: [...pods].map(([name, ready]) => ({
    metadata: { name, namespace: 'keybuzz-vault-canary', uid: name }, spec: { nodeName: 'worker-a' },
    status: { phase: 'Running', conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }] }
  })) })
})
const context = {
  agents: [{ name: 'worker-a', address: '10.0.0.110', user: 'root' }], kubectl, signal: run.signal, note: (line: string) => void notes.push(line),
  ssh: { ...createSsh(), capture: async (_: unknown, script: string) => (scripts.push(script), '') }
} as unknown as EventContext

test('the worker loses Vault alone; it is given back only once the pod that waited is ready, and the pods go', async () => {
  const { cut, what } = await loseVault(context, defaultSettings())
  assert.is(what, 'Vault out of reach')
  await cut.make(context.signal)
  assert.match(scripts.at(-1)!, /for other in 10\.0\.0\.150; do\n +incoming -p tcp --sport 8200 -s "\$other" -j DROP\n +outgoing -p tcp --dport 8200 -d "\$other" -j DROP\n/)
  pods.set('drill-waits', false)
  const stuck = await cut.undo(context.signal).then(() => '', (error: Error) => error.message)
  assert.match(stuck, /^a pod still waits for Vault: drill-waits/)
  pods.set('drill-waits', true)
  await cut.undo(context.signal)
  assert.is(pods.size, 0)
})

test('a pod that gets no secret before anything is taken away goes too', async () => {
  secret = ''
  assert.match(await loseVault(context, defaultSettings()).then(() => '', (error: Error) => error.message), /^exit 1/)
  assert.is(pods.size, 0)
  secret = 'abc'
})

test('after ctrl-C the worker is given back, and the pods go all the same', async () => {
  const { cut } = await loseVault(context, defaultSettings())
  await cut.make(context.signal)
  pods.set('drill-waits', true)
  run.abort()
  await cut.undo(new AbortController().signal)
  assert.is(pods.size, 0)
})

test.run()
