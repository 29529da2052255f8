import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { tooOld } from '../../../lib/base/node.mts'

test('Node before 24.2 is refused, in a line that says which it is and where the right one is', () => {
  assert.is(tooOld('24.1.0', '/opt/keybuzz'), 'Node 24.2 or later is needed, this is 24.1.0. Run: export PATH=/opt/keybuzz/node_modules/.bin:$PATH')
  for (const version of ['18.20.8', '20.20.2', '22.21.1', '23.11.1', '24.0.2']) assert.is.not(tooOld(version, '/'), '')
  for (const version of ['24.2.0', '24.10.0', '25.0.0', '26.1.0-nightly']) assert.is(tooOld(version, '/'), '')
})

test.run()
