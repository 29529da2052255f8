import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { checkOf } from '../../../lib/ingress/check.mts'
import { count, renderWatch, turnInWords, verdictInWords, watch, type Tally } from '../../../lib/ingress/watch.mts'
import type { Host } from '../../../lib/input/inventory.mts'
import { defaultSettings } from '../../../lib/input/settings.mts'
import type { Answer } from '../../../lib/reach/http.mts'

const good: Answer = { status: 200, body: '', milliseconds: 1.26 }
const bad: Answer = { status: 503, body: '', milliseconds: 2 }
const refused: Answer = { error: 'connection refused', milliseconds: 0.4 }
const check = checkOf(defaultSettings())

const tallyOf = (answers: Answer[], retries: number): Tally =>
  answers.reduce<Tally | undefined>((tally, answer, index) => count(tally, answer, retries, index * 1000), undefined)!

const verdicts = (answers: Answer[], retries: number): string[] =>
  answers.map((_, index) => verdictInWords(tallyOf(answers.slice(0, index + 1), retries), retries))

test('a verdict turns after as many results in a row as retries say, either way', () => {
  assert.equal(verdicts([good, good, good, bad, bad, good, bad, bad, bad, bad, good, good, good], 3), [
    'unknown, 1 of 3 passed', 'unknown, 2 of 3 passed', 'healthy',
    'healthy, 1 of 3 failed', 'healthy, 2 of 3 failed', 'healthy',
    'healthy, 1 of 3 failed', 'healthy, 2 of 3 failed', 'unhealthy', 'unhealthy',
    'unhealthy, 1 of 3 passed', 'unhealthy, 2 of 3 passed', 'healthy'
  ])
  assert.equal(verdicts([refused, bad], 1), ['unhealthy', 'unhealthy'])
})

test('since when: the moment of the turn, not of the last result', () => {
  assert.is(tallyOf([good, good, good, good], 2).since, 1000)
  assert.is(tallyOf([good, good, bad, bad, bad], 2).since, 3000)
})

test('only 200 counts, and the last thirty are kept', () => {
  const tally = tallyOf([...Array.from({ length: 30 }, () => good), { ...good, status: 301 }], 2)
  assert.is(tally.history.length, 30)
  assert.equal(tally.history.slice(-2), [true, false])
})

const tallies = new Map<string, Tally | undefined>([
  ['k3s-master-01', tallyOf([good, good, good], 2)],
  ['k3s-worker-02', tallyOf([good, good, good, bad], 2)],
  ['k3s-worker-03', tallyOf([good, good, refused, refused], 2)],
  ['k3s-worker-04', tallyOf([refused], 2)],
  ['k3s-worker-05', undefined]
])
const two = { ...check, retries: 2 }

test('the table of --watch', () => {
  assert.equal(renderWatch(tallies, two, 75_000, { colour: false, columns: 120 }), [
    'NODE           VERDICT                   LAST             MS   SINCE  LAST 30',
    'k3s-master-01  healthy                   200             1.3   1 min  ···',
    'k3s-worker-02  healthy, 1 of 2 failed    503             2.0   1 min  ···✗',
    'k3s-worker-03  unhealthy                 refused         0.4   1 min  ··✗✗',
    'k3s-worker-04  unknown, 1 of 2 failed    refused         0.4          ✗',
    'k3s-worker-05  is asked'
  ])
})

test('the table of --watch in colour, and cut to the width of the terminal', () => {
  const [, , second, third] = renderWatch(tallies, two, 75_000, { colour: true, columns: 120 })
  assert.is(second, 'k3s-worker-02  \u001b[32mhealthy\u001b[39m, 1 of 2 failed    503             2.0   1 min  ···\u001b[31m✗\u001b[39m')
  assert.is(third, 'k3s-worker-03  \u001b[31munhealthy\u001b[39m                 refused         0.4   1 min  ··\u001b[31m✗\u001b[39m\u001b[31m✗\u001b[39m')
  assert.equal(renderWatch(tallies, two, 75_000, { colour: false, columns: 30 }).map(({ length }) => length <= 30), Array(6).fill(true))
})

test('what went wrong is brief in the table', () => {
  const last = (error: string): string =>
    renderWatch(new Map([['n', tallyOf([{ error, milliseconds: 1 }], 2)]]), two, 0, { colour: false, columns: 120 })[1]!.slice(32, 45).trim()
  assert.equal([
    'connected, but no answer within 10000 ms', 'no connection within 10000 ms', 'connection reset without an answer',
    'connection closed within the header', 'no HTTP: "SSH-2.0"', 'no route to the address', 'something else entirely'
  ].map(last), ['no answer', 'no connection', 'reset', 'closed', 'no HTTP', 'no route', 'something els'])
})

test('a verdict that turned is one line', () => {
  assert.is(turnInWords('k3s-worker-03', tallyOf([good, refused, refused], 2)), 'k3s-worker-03 is unhealthy: connection refused, 2 in a row')
})

// The check's port is 80, so this asks an address of this machine where nothing listens there.
test('without a terminal each verdict that turns is a line, until it is interrupted', async () => {
  const host: Host = {
    name: 'k3s-worker-03', address: '127.0.0.80', publicAddress: '', user: 'root', fqdn: '', role: 'agent', stack: '', pool: 'general', line: 2
  }
  const stop = new AbortController()
  const said: string[] = []
  await watch([host], { ...check, retries: 1, timeout: 1 }, {
    signal: stop.signal,
    say: (line) => {
      said.push(line)
      if (said.length === 2) stop.abort()
    }
  })
  assert.is(said[0], "GET /healthz on port 80, no Host header, every 15 s; 1 in a row turn a node's verdict. ctrl-C ends it.")
  assert.match(said[1]!, /^[\dT:-]+Z k3s-worker-03 is unhealthy: .+, 1 in a row$/)
})

test.run()
