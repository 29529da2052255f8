import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { DrillRow } from '../../../lib/drill/away.mts'
import { drillTable, renderDrill } from '../../../lib/drill/table.mts'

const well = { requests: 250, failed: 0, outage: 0, slowest: 0.043, why: {} }
const rows: DrillRow[] = [
  {
    what: 'etcd leader killed', target: 'k3s-master-02', how: 'SIGKILL to its k3s, which is held down',
    away: 21.24, leader: 2.31, restored: 9.04, http: { ...well, requests: 500 },
    api: { ...well, failed: 14, outage: 3.01, why: { 'no answer within 2000 ms': 2, 'connection refused': 12 } }
  },
  { what: 'worker dies', target: 'k3s-worker-01', how: 'its power | off', away: 75, rescheduled: 71.5, restored: 12, api: well, http: well }
]

test('the table of a drill, and below it what was done', () => {
  assert.equal(renderDrill(rows), [
    'EVENT               TARGET           AWAY  NEW LEADER  API OUTAGE     FAILED  HTTP OUTAGE    FAILED  PODS MOVED  WELL AFTER',
    'etcd leader killed  k3s-master-02  21.2 s       2.3 s       3.0 s  14 of 250        0.0 s  0 of 500           –       9.0 s',
    'worker dies         k3s-worker-01  75.0 s           –       0.0 s   0 of 250        0.0 s  0 of 250      71.5 s      12.0 s',
    '',
    'etcd leader killed: SIGKILL to its k3s, which is held down',
    '  slowest answers: API 43 ms, HTTP 43 ms',
    '  API failed: 12 connection refused, 2 no answer within 2000 ms',
    'worker dies: its power | off',
    '  slowest answers: API 43 ms, HTTP 43 ms'
  ])
})

test('the same as a table for a page, of what users noticed', () => {
  const { heading, columns, rows: cells } = drillTable(rows)
  assert.is(heading, 'Failover drill')
  assert.equal(columns, ['Taken away', 'API away', 'HTTP away', 'New leader after', 'Pods moved after', 'All well after'])
  assert.equal(cells, [
    [
      { text: 'etcd leader killed', name: 'k3s-master-02', small: 'SIGKILL to its k3s, which is held down' },
      { text: '3.0 s', small: '14 of 250 failed' }, { text: '0.0 s', small: '0 of 500 failed' },
      { text: '2.3 s' }, { text: '–' }, { text: '9.0 s' }
    ],
    [
      { text: 'worker dies', name: 'k3s-worker-01', small: 'its power | off' },
      { text: '0.0 s', small: '0 of 250 failed' }, { text: '0.0 s', small: '0 of 250 failed' },
      { text: '–' }, { text: '1 min 12 s' }, { text: '12.0 s' }
    ]
  ])
  assert.equal(drillTable([]).rows, [])
})

test.run()
