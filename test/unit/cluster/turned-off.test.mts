import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { hasNoneOf } from '../../../lib/cluster/turned-off.mts'
import { fakeKubectl } from '../../support/fake-kubectl.mts'

const off = ['deployment/superset-beat', 'networkpolicy/reports-to-web']

const cluster = (found: string) => {
  const did: string[] = []
  const kubectl = fakeKubectl((command) => {
    did.push(command)
    return command.includes(' get ') ? found : ''
  })
  return { did, step: hasNoneOf(kubectl, 'keybuzz-superset', off) }
}

test('where nothing of it is there all is well', async () => {
  const { did, step } = cluster('')
  assert.is(await step.check(), '')
  assert.equal(did, ['-n keybuzz-superset get deployment/superset-beat networkpolicy/reports-to-web --ignore-not-found -o name'])
})

test('what is there is named, and goes with its pods', async () => {
  const { did, step } = cluster('deployment.apps/superset-beat\nnetworkpolicy.networking.k8s.io/reports-to-web\n')
  assert.is(await step.check(), 'is still there: deployment/superset-beat, networkpolicy/reports-to-web')
  await step.change!()
  assert.match(did[1]!, /^-n keybuzz-superset delete deployment\/superset-beat networkpolicy\/reports-to-web --ignore-not-found --cascade=foreground --timeout=\d+s$/)
})

test.run()
