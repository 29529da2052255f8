import { test } from 'uvu'
import * as assert from 'uvu/assert'

process.env['HOME'] = '/home/operator'
const { home, kubeconfig } = await import('../../../lib/base/home.mts')

test('what the scripts keep on the bastion is below the home of who runs them', () => {
  assert.is(home('logs'), '/home/operator/.keybuzz/logs')
  assert.is(kubeconfig, '/home/operator/.kube/config')
})

test.run()
