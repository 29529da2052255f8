import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { remembered } from '../../../lib/base/wait.mts'
import type { Node } from '../../../lib/cluster/nodes.mts'
import { defaultSettings } from '../../../lib/input/settings.mts'
import type { Host } from '../../../lib/input/inventory.mts'
import { hasCapacity, judgeRanges, judgeRoom, parseQuantity, roomAfterLoss } from '../../../lib/validation/capacity.mts'
import { fakeKubectl } from '../../support/fake-kubectl.mts'

const worker = (number: number, cpus = 7.6) => ({ name: `k3s-worker-0${number}`, pods: 250, cpus, memory: 15 })
const five = [1, 2, 3, 4, 5].map((number) => worker(number))
const settings = defaultSettings()

test('quantities are read as Kubernetes writes them', () => {
  assert.equal(['8', '7600m', '16Gi', '15893064Ki', '1.5'].map(parseQuantity), [8, 7.6, 16 * 2 ** 30, 15893064 * 1024, 1.5])
  assert.throws(() => parseQuantity('many'), 'many is no quantity')
})

test('the largest workers are those that are lost', () => {
  assert.equal(roomAfterLoss([worker(1, 4), worker(2, 16), worker(3, 8)], 1), { pods: 500, cpus: 12, memory: 30 })
  assert.equal(roomAfterLoss(five, 5), { pods: 0, cpus: 0, memory: 0 })
})

test('five documented workers carry the default targets with one lost, in evidence; three do not, in words', () => {
  assert.equal(judgeRoom(five, settings), [
    '= 1000 pods with 1 of 5 workers lost; the target is 1000',
    '= 30.4 CPUs with 1 of 5 workers lost; the target is 24',
    '= 60.0 GiB of memory with 1 of 5 workers lost; the target is 48'
  ])
  assert.is(judgeRoom(five.slice(2), settings)[0], 'only 500 pods with 1 of 3 workers lost; the target is 1000')
})

test('address ranges are judged by what is left of them', () => {
  assert.equal(judgeRanges(8, 12, settings), [
    '= 8 of 256 ranges for nodes in 10.42.0.0/16, each for 250 pods', '= 12 of 65534 addresses for Services in 10.43.0.0/16'
  ])
  assert.is(judgeRanges(240, 12, settings)[0],
    '240 of 256 ranges for nodes in 10.42.0.0/16, each for 250 pods are taken: more than four fifths')
})

test('the step counts the workers of the inventory, every node, and Services that have an address', async () => {
  const node = (name: string): Node => ({
    metadata: { name }, spec: {}, status: { allocatable: { pods: '250', cpu: '7600m', memory: '15728640Ki' } }
  })
  const nodes = remembered(async () => new Map(['k3s-master-01', 'k3s-worker-01', 'k3s-worker-02', 'stranger'].map((name) => [name, node(name)])))
  const agents = ['k3s-worker-01', 'k3s-worker-02'].map((name) => ({ name }) as Host)
  const asked: string[] = []
  const kubectl = fakeKubectl((command) => (asked.push(command), '10.43.0.1 None 10.43.0.10 None'))
  const words = await hasCapacity({ agents, settings, kubectl }, nodes).check()
  assert.equal(words.split('\n'), [
    'only 250 pods with 1 of 2 workers lost; the target is 1000',
    'only 7.6 CPUs with 1 of 2 workers lost; the target is 24',
    'only 15.0 GiB of memory with 1 of 2 workers lost; the target is 48',
    '= 4 of 256 ranges for nodes in 10.42.0.0/16, each for 250 pods',
    '= 2 of 65534 addresses for Services in 10.43.0.0/16'
  ])
  assert.equal(asked, ["get services -A -o 'jsonpath={.items[*].spec.clusterIP}'"])
})

test.run()
