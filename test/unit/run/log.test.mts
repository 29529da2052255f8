import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { now, openLog } from '../../../lib/run/log.mts'

const folder = mkdtempSync(join(tmpdir(), 'keybuzz-log-'))
test.after(() => rmSync(folder, { recursive: true }))

test('a line is logged with its time, for the owner only', () => {
  const file = join(folder, 'log')
  const log = openLog(file, assert.unreachable)
  log('one')
  log('two')
  assert.match(readFileSync(file, 'utf8'), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ one\n\S+Z two\n$/)
  assert.is(statSync(file).mode & 0o777, 0o600)
  assert.match(now(), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/)
})

test('a log on a full disk is told once, and nothing fails', () => {
  const said: string[] = []
  const log = openLog('/dev/full', (line) => said.push(line))
  log('one')
  log('two')
  assert.equal(said, ['The log is incomplete from here on: ENOSPC: no space left on device, write'])
})

test.run()
