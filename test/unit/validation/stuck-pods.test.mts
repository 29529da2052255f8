import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { hasNoStuckPod } from '../../../lib/validation/stuck-pods.mts'
import { fakeKubectl } from '../../support/fake-kubectl.mts'

type Shape = { phase?: string; ready?: boolean; seconds?: number; waiting?: string; name?: string; node?: string }

const pod = ({ phase = 'Running', ready = true, seconds = 3600, waiting, node, name = 'web-1' }: Shape) => ({
  metadata: { namespace: 'shop', name, uid: name, creationTimestamp: new Date(Date.now() - seconds * 1000).toISOString() },
  spec: node === undefined ? {} : { nodeName: node },
  status: {
    phase, conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }],
    ...(waiting === undefined ? {} : { containerStatuses: [{ ready, state: { waiting: { reason: waiting } } }] })
  }
})
const words = async (...shapes: Shape[]): Promise<string[]> =>
  (await hasNoStuckPod(fakeKubectl(() => JSON.stringify({ items: shapes.map(pod) }))).check()).split('\n')

test('pods that run, that have ended, or that have just been made are no fault', async () => {
  assert.equal(await words(
    {}, { phase: 'Succeeded', ready: false }, { phase: 'Failed', ready: false },
    { phase: 'Pending', ready: false, seconds: 290 }, { ready: false, seconds: 290 }
  ), ['= 5 pods'])
})

test('a pod that waits or is not ready for minutes is told, with the reason', async () => {
  const found = await words(
    { phase: 'Pending', ready: false, seconds: 310, waiting: 'ImagePullBackOff' },
    { ready: false, seconds: 310, waiting: 'CrashLoopBackOff', name: 'web-2', node: 'k3s-worker-01' }
  )
  assert.is(found[0], '= 2 pods')
  assert.is(found[1], 'shop/web-1 is Pending, ImagePullBackOff')
  assert.is(found[2], 'shop/web-2 on k3s-worker-01 is not ready, CrashLoopBackOff')
})

test('of many twenty are told, and how many more there are', async () => {
  const found = await words(...Array.from({ length: 25 }, (_, index): Shape => ({ ready: false, name: `web-${index}`, waiting: 'x' })))
  assert.is(found.length, 22)
  assert.is(found.at(-1), 'and 5 more')
})

test.run()
