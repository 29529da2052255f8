import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { intervalOf, isSchedule } from '../../../lib/base/cron.mts'

test('schedules', () => {
  const good = ['0 */6 * * *', '*/15 0-6,12 1,15 jan-mar MON', '0 3 * * 0', '5-59/10 * * * *', '@daily', '@hourly']
  const bad = ['', '* * * *', '* * * * * *', '60 * * * *', '0 24 * * *', '0 0 0 * *', '0 0 1 13 *', '0 0 * * 7',
    '0 6-3 * * *', '*/0 * * * *', '1- * * * *', 'a * * * *', '0  0 * * *', '@often', '0 0 * * *; reboot']
  for (const text of good) assert.ok(isSchedule(text), text)
  for (const text of bad) assert.not(isSchedule(text), text)
})

test('the longest time between two runs of a schedule, in seconds', () => {
  assert.is(intervalOf('0 */6 * * *'), 6 * 3600)
  assert.is(intervalOf('@hourly'), 3600)
  assert.is(intervalOf('0 8,20,22 * * *'), 12 * 3600)
})

test.run()
