import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { z } from 'zod'
import { address, integer, list, number, port, section, text } from '../../../../lib/input/schema/fields.mts'

const said = (schema: z.ZodType, value: unknown): string =>
  schema.safeParse(value).error?.issues.map(({ path, message }) => [...path, message].join(' ')).join('; ') ?? ''

test('a number lies within its bounds, and says them', () => {
  assert.equal([1, 5, 9].map((value) => said(integer(1, 9, 'hosts'), value)), ['', '', ''])
  for (const value of [0, 10, 1.5, '5', null, NaN]) assert.is(said(integer(1, 9, 'hosts'), value), 'a whole number from 1 to 9 (hosts)')
  assert.is(said(integer(1, 9), 0), 'a whole number from 1 to 9')
  assert.is(said(number(0.1, 2, 'GiB'), 1.5), '')
  assert.is(said(number(0.1, 2, 'GiB'), 2.1), 'a number from 0.1 to 2 (GiB)')
})

test('text says what it should have been, whatever it is', () => {
  const word = text('a word', (value) => /^\w+$/.test(value))
  assert.equal([said(word, 'x'), said(word, 'x y'), said(word, 7)], ['', 'a word', 'a word'])
})

test('a list has so many items, each one once', () => {
  const ports = list(port(), 1, 3, 'ports')
  assert.is(said(ports, [22, 80]), '')
  for (const value of [[], [1, 2, 3, 4], 22]) assert.is(said(ports, value), 'a list of 1 to 3 ports')
  assert.is(said(list(port(), 0, 1, 'ports'), [1, 2]), 'a list of at most 1 ports')
  assert.is(said(ports, [22, 80, 22]), '2 each one once')
  assert.is(said(ports, [22, 70_000]), '1 a whole number from 1 to 65535')
})

test('an address is one that a machine can have', () => {
  assert.equal(['10.0.0.1', '127.0.0.1', '224.0.0.1', '10.0.0'].map((value) => said(address(), value) === ''), [true, false, false, false])
})

test('a section has its defaults, also where it is left out or empty, and takes no other key', () => {
  const ssh = section({ port: port().default(22), inner: section({ size: integer(1, 9).default(3) }) })
  const defaults = { port: 22, inner: { size: 3 } }
  assert.equal([undefined, null, {}, { inner: null }].map((value) => ssh.parse(value)), [defaults, defaults, defaults, defaults])
  assert.equal(ssh.parse({ inner: { size: 4 } }), { port: 22, inner: { size: 4 } })
  assert.is(said(ssh, 7), 'keys with values, indented below it')
  assert.is(ssh.safeParse({ prot: 22 }).error?.issues[0]?.code, 'unrecognized_keys')
})

test.run()
