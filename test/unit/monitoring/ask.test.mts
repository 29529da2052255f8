import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { askByHand, askPod, pathOfPod, queryPod, readyPods } from '../../../lib/monitoring/ask.mts'
import { fakeMonitoring } from '../../support/fake-monitoring.mts'
import { commands, onNode } from '../../support/node-shell.mts'

test('pods that are not ready, or on a sick node, are not asked', async () => {
  const { kubectl } = fakeMonitoring({
    prometheus: [{ name: 'prometheus-0', node: 'k3s-worker-05' }, { name: 'prometheus-1' }, { name: 'prometheus-2', ready: false }], alertmanager: []
  }, () => '')
  assert.equal(await readyPods({ kubectl, sick: () => ['k3s-worker-05'] }, 'prometheus'), ['prometheus-1'])
  assert.equal(await readyPods({ kubectl, sick: () => [] }, 'alertmanager'), [])
})

test('a pod is asked through the API, at its own port, and a query is encoded', async () => {
  const asked: string[] = []
  const { kubectl } = fakeMonitoring({ prometheus: [], alertmanager: [] }, (pod, path) => {
    asked.push(`${pod} ${path}`)
    return { data: { result: [{ metric: { node: 'a' }, value: [1, '2'] }] } }
  })
  assert.is(pathOfPod('alertmanager', 'alertmanager-0', '/metrics'), '/api/v1/namespaces/monitoring/pods/alertmanager-0:9093/proxy/metrics')
  await askPod(kubectl, 'alertmanager', 'alertmanager-0', '/metrics')
  assert.equal(await queryPod(kubectl, 'prometheus-0', 'up{job="a b"} == 0 & 1'), [{ metric: { node: 'a' }, value: [1, '2'] }])
  assert.equal(asked, ['alertmanager-0 /metrics', 'prometheus-0 /api/v1/query?query=up{job="a b"} == 0 & 1'])
})

test('by hand the same pods are asked', () => {
  const kubectl = commands({ kubectl: `case "$*" in *'get pods'*) echo 'one two';; *) echo "\\"$3\\"" ;; esac`, jq: 'cat' })
  assert.equal(onNode(askByHand('prometheus', '/api/v1/rules', '.'), { path: [kubectl] }).stdout.trim().split('\n'),
    ['one', 'two'].map((pod) => `"${pathOfPod('prometheus', pod, '/api/v1/rules')}"`))
})

test.run()
