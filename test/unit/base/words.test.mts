import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { age, closest, duration, mebibytes, megabytes, milliseconds, plural, printable } from '../../../lib/base/words.mts'

test('a noun has its number', () => {
  assert.equal([0, 1, 2].map((count) => plural(count, 'host')), ['0 hosts', '1 host', '2 hosts'])
})

test('the word that was meant is near, or there is none', () => {
  const names = ['nameservers', 'mtu', 'service_cidr']
  assert.is(closest('nameserver', names), 'nameservers')
  assert.is(closest('mut', names), undefined)
  assert.is(closest('mtuu', names), 'mtu')
  assert.is(closest('cluster', names), undefined)
})

test('a duration is read at a glance', () => {
  assert.is(duration(4.25), '4.3 s')
  assert.is(duration(125), '2 min 5 s')
  assert.is(duration(119.7), '2 min 0 s')
})

test('an age', () => {
  assert.equal([0.9, 59.9, 60, 3599, 7300].map(age), ['0 s', '59 s', '1 min', '59 min', '2 h'])
})

test('text from elsewhere cannot drive a terminal', () => {
  assert.is(printable('a\u001b]0;title\u0007\u009b2J\u202e\u200bb\n\tc\r'), 'a?]0;title??2J??b\n\tc?')
  assert.is(printable('Zugriff verweigert: é 中'), 'Zugriff verweigert: é 中')
})

test('milliseconds have a decimal below ten', () => {
  assert.equal([0.44, 1.26, 9.9, 12.4].map(milliseconds), ['0.4', '1.3', '9.9', '12'])
})

test('megabytes are of a thousand, mebibytes of 1024', () => {
  assert.is(megabytes(300_400_000), '300 MB')
  assert.is(mebibytes(2 * 2 ** 30), '2048 MiB')
})

test.run()
