import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { formatCidr } from '../../../../lib/base/ipv4.mts'
import { CLUSTER, networkOf, PRIVATE, SERVICE } from '../../../../lib/input/rules/conflict.mts'
import { defaultSettings } from '../../../../lib/input/settings.mts'

test('a network is found by its path', () => {
  const found = [PRIVATE, CLUSTER, SERVICE].map((path) => formatCidr(networkOf(defaultSettings(), path)))
  assert.equal(found, ['10.0.0.0/16', '10.42.0.0/16', '10.43.0.0/16'])
})

test.run()
