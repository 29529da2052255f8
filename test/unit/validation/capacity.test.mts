import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { judgeRanges, judgeRoom, parseQuantity, roomAfterLoss } from '../../../lib/validation/capacity.mts'
import { defaultSettings } from '../../../lib/input/settings.mts'

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

test.run()
