import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { FailoverResults, Loss } from '../../bench/failover.mts'
import { median } from '../../bench/numbers.mts'
import { intoPage, type Results } from '../../bench/results.mts'
import { rows } from '../../bench/rows.mts'
import { faultsOf, leaderIn, silentSince } from '../../bench/sound.mts'
import { plainTable } from '../../bench/table.mts'
import { parseTold, secondsOf, summary } from '../../bench/told.mts'
import { failingFor } from '../lab/tests/traffic.mts'

const scripts = { '09_k3s_01': 4, '09_k3s_02': 3, '09_k3s_03': 2, '09_k3s_04': 50 }
const run = { seconds: 70, rounds: [70], connections: 8, commands: 120, changes: 0, scripts }
const hosts = { rounds: [3], connections: 8, commands: 48, bastionCpu: 1, allCpu: 4 }
const tally = (outage: number, failed: number) => ({ requests: 100, failed, outage, slowest: 1, why: {} })
const loss = (api: number, http = 0): Loss =>
  ({ target: 'a', api: tally(api, api * 5), http: tally(http, http * 5), httpFailing: http })
const failover: FailoverResults = {
  leader: [loss(2), loss(6, 1), loss(3)], killed: loss(1), worker: loss(0, 2), window: 4,
  rollout: { seconds: 80, http: tally(0, 0) }
}
const results: Results = {
  date: '2026-01-02T03:04:05Z',
  computer: { cpus: 2, model: 'Model', memoryGiB: 4, kernel: '6.1', node: 'v24', load: 0.25 },
  lab: { k3s: 'v1', fresh: { ...run, seconds: 200, scripts: { ...scripts, '09_k3s_02': 124 } }, converged: run, plan: run },
  hosts: [{ ...hosts, hosts: 8, seconds: 3 }, { ...hosts, hosts: 64, seconds: 6 }],
  failover
}

test('the median is the middle one', () => {
  assert.equal([[3], [3, 1], [9, 1, 2]].map(median), [3, 2, 2])
})

test('a goal is met or not, and what has none says nothing', () => {
  const met = rows(results).filter(({ goal }) => goal !== '').map(({ what, measured, met }) => [what, measured, met])
  assert.equal(met, [
    ['fresh apply of 01-03, 8 bare nodes', '2 min 30 s', false],
    ['apply of 01-03 again, nothing to do', '20.0 s', false],
    ['plan of 64 to 8 hosts', '2.0 times', true],
    ["API away, etcd leader's machine dies, worst of 3", '6.0 s', false],
    ["API away, etcd leader's k3s is killed", '1.0 s', true],
    ['HTTP away, a worker dies', '2.0 s', true],
    ['... from the first failure to the last', '2.0 s', true],
    ['rolling update of the ingress, failed', '0 of 100', true]
  ])
  assert.ok(rows(results).every(({ goal, met }) => (goal === '') === (met === undefined)))
})

test('a part alone has the rows of that part only', () => {
  const { hosts: part } = results
  assert.is(rows({ hosts: part! }).length, 7)
  assert.match(plainTable(rows({ hosts: part! })), /^What +Measured +Goal\nplan of 01, 8 hosts +3\.0 s\n/)
})

test('results from before a part was measured still have their rows', () => {
  const { failover: _, ...older } = results
  const old = JSON.parse(readFileSync(join(import.meta.dirname, '../../bench/results.json'), 'utf8')) as Results
  assert.is(rows(older).length, rows(results).length - rows({ failover }).length)
  assert.is(rows(old)[0]?.what, 'fresh apply of 01-03, 8 bare nodes')
})

test('the goals of 01-03 are held against the whole run without what came later', () => {
  assert.is(secondsOf({ scripts }, ['09_k3s_01', '09_k3s_02', '09_k3s_03']), 9)
  assert.is(secondsOf({ scripts }, ['09_k3s_01', '09_k3s_09']), 4)
  const [first, second, third] = rows(results)
  assert.equal([first?.measured, second?.measured], ['2 min 30 s', '3 min 20 s'])
  assert.is(third?.measured, '01 4.0 s, 02 2 min 4 s, 03 2.0 s, 04 50.0 s')
})

test('the rounds are told with their median, and the worst of them counts', () => {
  const list = rows({ failover }).map(({ what, measured }) => [what, measured])
  assert.equal(list.slice(0, 5), [
    ["API away, etcd leader's machine dies, worst of 3", '6.0 s'],
    ['... median', '3.0 s'],
    ['... each round', '2.0 s, 6.0 s, 3.0 s'],
    ['... requests that failed', '10 of 100, 30 of 100, 15 of 100'],
    ['... HTTP away meanwhile', '0.0 s, 1.0 s, 0.0 s']
  ])
})

test('an ingress that is away for longer than the check needs has not met its goal', () => {
  const list = rows({ failover: { ...failover, worker: { ...loss(0, 3), httpFailing: 5 } } })
  const ofWorker = list.slice(list.findIndex(({ what }) => what === 'HTTP away, a worker dies'))
  assert.equal(ofWorker.slice(0, 2).map(({ measured, goal, met }) => [measured, goal, met]), [
    ['3.0 s', '4.0 s or less', true],
    ['5.0 s', '4.0 s or less', false]
  ])
})

test('where nothing was asked no goal is met', () => {
  const none = { ...tally(0, 0), requests: 0 }
  const silent = { ...loss(0), api: none, http: none }
  const list = rows({ failover: { ...failover, leader: [silent], killed: silent, worker: silent, rollout: { seconds: 1, http: none } } })
  assert.equal(list.filter(({ met }) => met).map(({ what }) => what), [])
})

test('failed requests were sent within the time from the first to the last', () => {
  assert.equal([[], [1200], [1200, 1500, 4200]].map((failedAt) => failingFor({ failedAt })), [0, 0, 3])
})

test('a rolling update that failed one request has not met its goal', () => {
  const list = rows({ failover: { ...failover, rollout: { seconds: 80, http: tally(0.1, 1) } } })
  assert.equal(list.at(-2), { what: 'rolling update of the ingress, failed', measured: '1 of 100', goal: 'none', met: false })
})

const etcd = (leads: number, learner = 0): string => `{"health":"true","reason":""}
etcd_server_has_leader 1
etcd_server_is_leader ${leads}
etcd_server_is_learner ${learner}
`
const ready = 'ingress ready\n'

test('the leader of etcd is the one server that says so', () => {
  const servers = [0, 1, 0].map((leads, index) => ({ name: `s${index}`, said: etcd(leads) }))
  assert.is(leaderIn(servers), 's1')
  assert.is(leaderIn([...servers, { name: 's3', said: etcd(1) }]), undefined)
  assert.is(leaderIn([{ name: 's0', said: etcd(0) }, { name: 's2', said: '' }]), undefined)
})

test('what is not well is told by node; a server that does not answer is no voter', () => {
  const servers = ['s0', 's1', 's2']
  const well = [
    { name: 's0', said: ready + etcd(0) }, { name: 's1', said: ready + etcd(1) }, { name: 's2', said: ready + etcd(0) },
    { name: 'w0', said: ready }
  ]
  assert.equal(faultsOf(well, servers), [])
  const [first, , ...others] = well
  assert.equal(faultsOf([{ ...first!, said: ready + etcd(0, 1) }, { name: 's1', said: '' }, ...others], servers), [
    'the ingress of s1 is not ready', 'etcd of s0 is no healthy voter', 'etcd of s1 is no healthy voter',
    'etcd does not have one leader'
  ])
})

test('a node that has not renewed its lease since then is silent, and so is one without', () => {
  const leases = 'a 2026-01-02T03:04:06.000000Z\nb 2026-01-02T03:04:04.000000Z'
  assert.equal(silentSince(leases, ['a', 'b', 'c'], Date.parse('2026-01-02T03:04:05Z')), ['b', 'c'])
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
