import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { readNics } from '../../../lib/node/nic.mts'
import type { Question, Run } from '../../../lib/run/run.mts'
import { hostOf } from '../../support/hosts.mts'
import { commands, onNode } from '../../support/node-shell.mts'

const host = hostOf('a', { address: '10.0.0.100' })
const questions: Question[] = []
const run = { ask: async (_: unknown, question: Question) => (questions.push(question), new Map([['a', 'enp7s0']])) } as unknown as Run

const addresses = `1: lo    inet 127.0.0.1/8 scope host lo\\       valid_lft forever
2: eth0    inet 198.51.100.1/24 brd 198.51.100.255 scope global eth0\\       valid_lft forever
3: enp7s0    inet 10.0.0.100/32 scope global enp7s0\\       valid_lft forever`

const nicOf = (address: string, more = '') => {
  const shell = questions[0]!.shell({ ...host, address })
  return onNode(shell, { path: [commands({ ip: `cat <<'END'\n${addresses}\nEND\n${more}` })] })
}

test('the NIC is the one that has exactly the private address', async () => {
  assert.equal(await readNics(run, [host]), new Map([['a', 'enp7s0']]))
  assert.is(questions[0]!.bare, '<NIC>')
  assert.equal(nicOf('10.0.0.100'), { stdout: 'enp7s0', stderr: '', code: 0 })
  assert.is(nicOf('198.51.100.1').stdout, 'eth0')
})

test('where no NIC has it, the answer is empty', () => {
  for (const address of ['10.0.0.10', '10.0.0.1', '0.0.0.100']) assert.equal(nicOf(address), { stdout: '', stderr: '', code: 0 }, address)
})

test('of two NICs with the address the first is taken', () => {
  assert.is(nicOf('10.0.0.100', "echo '4: cni0    inet 10.0.0.100/24 scope global cni0'").stdout, 'enp7s0')
})

test('a node that has much more to say still answers', () => {
  assert.equal(nicOf('10.0.0.100', 'seq 100000'), { stdout: 'enp7s0', stderr: '', code: 0 })
})

test.run()
