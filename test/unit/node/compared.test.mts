import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { defaultSettings } from '../../../lib/input/settings.mts'
import { hasOwnMachineId, hasTimeOfOthers, saysTimeAndId, type Said } from '../../../lib/node/compared.mts'
import type { NodeStep } from '../../../lib/run/step.mts'
import { answeringSsh } from '../../support/answering-ssh.mts'
import { hostOf } from '../../support/hosts.mts'

const [a, b, c] = [hostOf('a', { address: '10.0.0.100' }), hostOf('b'), hostOf('c')]
const settings = defaultSettings()
const ask = ({ check }: NodeStep): Promise<string> => (check as () => Promise<string>)()
const said = (...all: [name: string, machineId: string, ahead: number, error?: number][]): Map<string, Said> =>
  new Map(all.map(([name, machineId, ahead, error = 0]) => [name, { machineId, ahead, error }]))

test('a node says its machine-id, and its time against the middle of the question', async () => {
  const heard = new Map<string, Said>()
  const ssh = answeringSsh(() => `${Date.now() + 3000}\nc0ffee\n`)
  const began = performance.now()
  assert.is(await ask(saysTimeAndId(a, { ssh }, heard)), '')
  const took = performance.now() - began
  const { machineId, ahead, error } = heard.get('a')!
  assert.is(machineId, 'c0ffee')
  assert.ok(Math.abs(ahead - 3000) <= error + 1, `${ahead} ± ${error}`)
  assert.ok(error <= took)
})

test('by hand the node is asked the same, and the bastion beside it', () => {
  const { look } = saysTimeAndId(a, { ssh: answeringSsh(() => '') }, new Map())
  assert.is(look, "ssh root@10.0.0.100 'date +%s%3N; cat /etc/machine-id'; date +%s%3N")
})

test('twins are named on both, and nobody else is', async () => {
  const all = said(['a', 'one', 0], ['b', 'two', 0], ['c', 'one', 0])
  assert.is(await ask(hasOwnMachineId(a, all)), 'c has the same')
  assert.is(await ask(hasOwnMachineId(b, all)), '')
  assert.is(await ask(hasOwnMachineId(c, all)), 'a has the same')
})

test('a clock is compared with the middle one of all, not with the bastion', async () => {
  const all = said(['a', '', 60_000], ['b', '', 60_400], ['c', '', 65_000])
  assert.equal(await Promise.all([a, b, c].map((host) => ask(hasTimeOfOthers(host, settings, all)))), ['', '', 'is 4.6 s ahead'])
  assert.is(await ask(hasTimeOfOthers(a, settings, said(['a', '', -2000], ['b', '', 0], ['c', '', 0]))), 'is 2.0 s behind')
})

test('what a slow answer leaves open is no fault of the clock', async () => {
  const all = said(['a', '', 1500, 600], ['b', '', 0], ['c', '', 0])
  assert.is(await ask(hasTimeOfOthers(a, settings, all)), '')
  const less = { ...settings, prepare: { ...settings.prepare, clock_skew: 0.5 } }
  assert.is(await ask(hasTimeOfOthers(a, less, all)), 'is 1.5 s ahead')
})

test('by hand it is said which lines are compared, and how far they may be apart', () => {
  assert.match(hasTimeOfOthers(a, settings, new Map()).look!, /first lines above.*milliseconds.*at most 1000 apart/)
  assert.match(hasOwnMachineId(a, new Map()).look!, /second lines above.*no two/)
})

test.run()
