import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { isDomain, isHostname, isUser } from '../../../lib/base/names.mts'

const refused = (holds: (name: string) => boolean, names: string[]): void => {
  for (const name of names) assert.not(holds(name), name)
}
const accepted = (holds: (name: string) => boolean, names: string[]): void => {
  for (const name of names) assert.ok(holds(name), name)
}
// None of these may get into a shell command, a path or an argument.
const hostile = ['', '-v', 'a b', 'a\n', 'a;b', '$(x)', '`x`', '../a', "a'b", 'a\u200b', 'é']

test('names of nodes', () => {
  accepted(isHostname, ['a', '7', 'k3s-master-01', 'a'.repeat(63)])
  refused(isHostname, [...hostile, 'a-', 'A', 'a_b', 'a.b', 'a'.repeat(64)])
})

test('domain names', () => {
  accepted(isDomain, ['keybuzz.io', 'a.b', 'k3s-ia.keybuzz.io', `${'a.'.repeat(126)}b`])
  refused(isDomain, [...hostile, 'localhost', 'a.', '.a', 'a..b', 'A.b', 'a.-b', `${'a.'.repeat(127)}b`])
})

test('names of users', () => {
  accepted(isUser, ['root', '_apt', 'ops-2', 'a'.repeat(32)])
  refused(isUser, [...hostile, '2ops', 'Root', 'a@b', 'a'.repeat(33)])
})

test.run()
