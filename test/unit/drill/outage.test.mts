import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { tally, type Sample } from '../../../lib/drill/outage.mts'

type Shape = { endpoint?: string; took?: number; why?: string }

// Requests every 200 ms from the first to the last time, each answered after 10 ms.
const every200 = (first: number, last: number, { endpoint = 'a', took = 10, why = '' }: Shape = {}): Sample[] =>
  Array.from({ length: (last - first) / 200 + 1 }, (_, index) => {
    const sent = first + index * 200
    return { endpoint, sent, ended: sent + took, why }
  })

const period = { from: 0, to: 10_000 }
const outage = (samples: Sample[], during = period): number => tally(samples, during).outage

test('without a failure there is no outage, however slow the answers are', () => {
  const all = tally([...every200(0, 9800), ...every200(100, 900, { took: 1900 })], period)
  assert.equal(all, { requests: 55, failed: 0, outage: 0, slowest: 1.9, why: {} })
})

test('an outage lasts from the last request that was still answered to the first answer after it', () => {
  const samples = [...every200(0, 2000), ...every200(2200, 4800, { why: 'connection refused' }), ...every200(5000, 9800)]
  assert.equal(tally(samples, period), {
    requests: 50, failed: 14, outage: 3.01, slowest: 0.01, why: { 'connection refused': 14 }
  })
})

test('requests that time out count for when they were sent, not for when they were given up', () => {
  const samples = [...every200(0, 2000), ...every200(2200, 4800, { took: 2000, why: 'no answer' }), ...every200(5000, 9800)]
  assert.is(outage(samples), 3.01)
  const { requests, failed } = tally(samples, { from: 0, to: 2300 })
  assert.equal({ requests, failed }, { requests: 12, failed: 1 })
})

test('a request that had to wait for the end of an outage does not make it shorter', () => {
  const waited = every200(3200, 4800).map((sample) => ({ ...sample, ended: 5000 }))
  assert.is(outage([...every200(0, 2000), ...every200(2200, 3000, { took: 2000, why: 'no answer' }), ...waited, ...every200(5000, 9800)]), 3)
})

test('an answer ends an outage also where one to an earlier request is still to come', () => {
  const late = { endpoint: 'a', sent: 3200, ended: 5000, why: '' }
  assert.is(outage([...every200(0, 2000), ...every200(2200, 3000, { why: 'x' }), late, ...every200(3400, 9800)]), 1.41)
})

test('a single failure is an outage of two intervals at most', () => {
  assert.is(outage([...every200(0, 2000), ...every200(2200, 2200, { why: 'x' }), ...every200(2400, 9800)]), 0.41)
})

test('where every third request fails, each is an outage of its own', () => {
  const samples = every200(0, 9800).map((sample, index) => (index % 3 === 1 ? { ...sample, why: 'x' } : sample))
  const { failed, outage: longest } = tally(samples, period)
  assert.equal({ failed, longest }, { failed: 17, longest: 0.41 })
})

test('the longest of several outages counts', () => {
  const bad = (first: number, last: number): Sample[] => every200(first, last, { why: 'x' })
  assert.is(outage([...every200(0, 800), ...bad(1000, 1400), ...every200(1600, 3000), ...bad(3200, 5000), ...every200(5200, 9800)]), 2.21)
})

test('an outage at an edge of the period goes to that edge', () => {
  assert.is(outage([...every200(0, 1000, { why: 'x' }), ...every200(1200, 9800)]), 1.21)
  assert.is(outage([...every200(0, 8000), ...every200(8200, 9800, { why: 'x' })]), 2)
  assert.is(outage(every200(0, 9800, { why: 'x' })), 10)
})

test('what was sent outside the period does not count', () => {
  const samples = [...every200(0, 2000, { why: 'x' }), ...every200(2200, 9800)]
  assert.equal(tally(samples, { from: 2200, to: 9000 }), { requests: 35, failed: 0, outage: 0, slowest: 0.01, why: {} })
})

test('one endpoint that answers does not hide another that does not', () => {
  const one = [...every200(0, 2000), ...every200(2200, 4000, { why: 'x' }), ...every200(4200, 9800)]
  assert.is(outage([...one, ...every200(0, 9800, { endpoint: 'b' })]), 2.21)
})

test('the order in which requests ended does not matter', () => {
  const samples = [...every200(0, 2000), ...every200(2200, 4800, { took: 2000, why: 'no answer' }), ...every200(5000, 9800)]
  assert.is(outage(samples.toSorted((a, b) => a.ended - b.ended)), outage(samples))
})

test('no requests are no outage', () => {
  assert.equal(tally([], period), { requests: 0, failed: 0, outage: 0, slowest: 0, why: {} })
})

test.run()
