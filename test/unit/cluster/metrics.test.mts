import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { hasMetrics } from '../../../lib/cluster/metrics.mts'
import { fakeKubectl } from '../../support/fake-kubectl.mts'
import { hostOf } from '../../support/hosts.mts'

const chosen = [hostOf('a'), hostOf('b')]
const items = (...names: string[]): string => JSON.stringify({ items: names.map((name) => ({ metadata: { name } })) })
const told = (nodes: string[], pods: string[]): Promise<string> => hasMetrics({
  chosen,
  kubectl: fakeKubectl((command) => {
    if (command === 'get --raw /apis/metrics.k8s.io/v1beta1/nodes') return items(...nodes)
    if (command === 'get pods -n keybuzz-netcheck -o json') {
      return JSON.stringify({ items: [['x', 'a'], ['y', 'b']].map(([name, nodeName]) => ({ metadata: { name }, spec: { nodeName }, status: {} })) })
    }
    assert.is(command, 'get --raw /apis/metrics.k8s.io/v1beta1/namespaces/keybuzz-netcheck/pods')
    return items(...pods)
  })
}).check()

test('metrics of every node and of a pod on each are enough', async () => {
  assert.is(await told(['a', 'b', 'c'], ['x', 'y']), '= 3 nodes, 2 netcheck pods')
})

test('what has no metrics is named, with its node', async () => {
  assert.is(await told(['a'], ['x']), '= 1 nodes, 1 netcheck pods\nnone of b\nnone of the netcheck pod on b')
})

test.run()
