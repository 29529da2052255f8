import { readFile } from 'node:fs/promises'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { isAbort, isMissing, messageOf, quoted, renderFault, UsageError } from '../../../lib/base/errors.mts'

test('a fault is one line that cannot deceive the terminal', () => {
  const fault = { file: 'servers.tsv', line: 7, what: 'HOSTNAME', expected: 'a name', remedy: 'Fix it.' }
  assert.is(renderFault({ ...fault, value: 'a\u001b[2J\nb' }),
    'servers.tsv:7 HOSTNAME "a\\u001b[2J\\nb": expected a name. Fix it.')
  assert.is(quoted('n°1 "é"…'), '"n°1 \\"é\\"…"')
  assert.is(quoted('a\u009b\u202e\u200b\u00a0b'), '"a\\u009b\\u202e\\u200b\\u00a0b"')
  assert.is(quoted('https://me:secret@host/x'), '"https://***@host/x"')
  assert.is(quoted('x'.repeat(200)).length, 83)
})

test('a usage error has a line for each fault', () => {
  const fault = { file: 'settings.yaml', what: 'mtu', expected: 'a number', remedy: 'Fix it.' }
  const error = new UsageError([{ ...fault, line: 3, value: 'x' }, fault])
  assert.is(error.message, 'settings.yaml:3 mtu "x": expected a number. Fix it.\nsettings.yaml mtu: expected a number. Fix it.')
  assert.is(error.exitCode, 64)
})

test('the message of whatever was thrown', () => {
  assert.is(messageOf(new RangeError('too much')), 'too much')
  assert.equal(['words', undefined, 7].map(messageOf), ['words', 'undefined', '7'])
})

test('an interruption is no failure, and a failure is no interruption', () => {
  assert.ok(isAbort(AbortSignal.abort().reason))
  assert.not(isAbort(new Error('AbortError')))
  assert.not(isAbort(new DOMException('late', 'TimeoutError')))
  assert.not(isAbort(undefined))
})

test('a file that is not there is told from one that cannot be read', async () => {
  const errorOf = (path: string): Promise<unknown> => readFile(path).then(() => undefined, (error: unknown) => error)
  assert.ok(isMissing(await errorOf(`${import.meta.dirname}/nothing`)))
  assert.not(isMissing(await errorOf(import.meta.dirname)))
  assert.not(isMissing(new Error('ENOENT')))
})

test.run()
