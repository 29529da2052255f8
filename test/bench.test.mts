import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { median } from '../bench/numbers.mts'
import { intoPage, type Results } from '../bench/results.mts'
import { plainTable, rows } from '../bench/table.mts'
import { parseTold, summary } from '../bench/told.mts'

const scripts = { '09_k3s_01': 4, '09_k3s_02': 3 }
const run = { seconds: 9, rounds: [9], connections: 8, commands: 120, changes: 0, scripts }
const hosts = { rounds: [3], connections: 8, commands: 48, bastionCpu: 1, allCpu: 4 }
const results: Results = {
  date: '2026-01-02T03:04:05Z',
  computer: { cpus: 2, model: 'Model', memoryGiB: 4, kernel: '6.1', node: 'v24', load: 0.25 },
  lab: { k3s: 'v1', fresh: { ...run, seconds: 130 }, converged: run, plan: run },
  hosts: [{ ...hosts, hosts: 8, seconds: 3 }, { ...hosts, hosts: 64, seconds: 6 }]
}

test('the median is the middle one', () => {
  assert.equal([[3], [3, 1], [9, 1, 2]].map(median), [3, 2, 2])
})

test('a goal is met or not, and what has none says nothing', () => {
  const met = rows(results).filter(({ goal }) => goal !== '').map(({ what, measured, met }) => [what, measured, met])
  assert.equal(met, [
    ['fresh apply of 01-03, 8 bare nodes', '2 min 10 s', false],
    ['apply of 01-03 again, nothing to do', '9.0 s', true],
    ['plan of 64 to 8 hosts', '2.0 times', true]
  ])
  assert.ok(rows(results).every(({ goal, met }) => (goal === '') === (met === undefined)))
})

test('a part alone has the rows of that part only', () => {
  const { lab: _, ...others } = results
  assert.is(rows(others).length, 7)
  assert.match(plainTable(rows(others)), /^What +Measured +Goal\nplan of 01, 8 hosts +3\.0 s\n/)
})

test('the table goes between its marks, and the rest of the page stays', () => {
  const [begin, end] = ['<!-- Written by npm run bench: begin -->', '<!-- Written by npm run bench: end -->']
  const once = intoPage(`before\n${begin}\nold\n${end}\nafter\n`, results)
  assert.match(once, /^before\n<!-- [^\n]+\nMeasured on 2026-01-02 on 2 CPUs/)
  assert.match(once, /\n\| plan of 01, 8 hosts \| 3\.0 s \|  \|  \|\n/)
  assert.match(once, /-->\nafter\n$/)
  assert.not(once.includes('old'))
  assert.is(intoPage(once, results), once)
  assert.throws(() => intoPage('no marks', results), /has lost its marks/)
})

test('a script that ended without a result is told with its last words', () => {
  assert.throws(() => parseTold('', 'a line\nthe reason\n'), /without a result:\na line\nthe reason/)
})

test('several runs become one result, by their medians', () => {
  const told = (connections: number, seconds: number) => parseTold(JSON.stringify({
    exitCode: 0, seconds, ssh: { connections, commands: 40 },
    scripts: [{ id: '09_k3s_01', seconds, hosts: { a: [{ step: 'x', result: 'ok' }, { step: 'y', result: 'changed' }] } }]
  }), '')
  const runs = [3, 1, 2].map((seconds) => ({ seconds: seconds + 0.5, told: told(8, seconds) }))
  assert.equal(summary(runs), {
    seconds: 2.5, rounds: [3.5, 1.5, 2.5], connections: 8, commands: 40, changes: 1, scripts: { '09_k3s_01': 2 }
  })
})

test.run()
