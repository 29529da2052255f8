import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { checkByHand, checkInWords, checkOf, checksByHand, makeChecks, timesInWords, untilVerdict, windowOf } from '../../../lib/ingress/check.mts'
import { defaultSettings, type Settings } from '../../../lib/input/settings.mts'
import type { Answer } from '../../../lib/reach/http.mts'

const good: Answer = { status: 200, body: '', milliseconds: 1.26 }
const bad: Answer = { status: 503, body: '', milliseconds: 2 }
const refused: Answer = { error: 'connection refused', milliseconds: 0.4 }

const settingsWith = (ingress: Partial<Settings['ingress']>): Settings => {
  const settings = defaultSettings()
  return { ...settings, ingress: { ...settings.ingress, ...ingress } }
}
const check = checkOf(defaultSettings())
const health_check = { path: '/ok', host: 'lb.example.com', interval: 1, timeout: 1, retries: 2 }
const other = checkOf(settingsWith({ client_address: 'proxy-protocol', health_check }))

test('the check as the settings have it, in words', () => {
  assert.is(checkInWords(check), 'GET /healthz on port 80, no Host header, every 15 s')
  assert.is(checkInWords(other), 'GET /ok on port 80, with PROXY protocol, Host: lb.example.com, every 1 s')
})

test('how long a load balancer takes: each failing check may take its timeout, a passing one takes no time', () => {
  assert.equal(windowOf(check), { out: 75, back: 45 })
})

test('the times of some checks: what was answered, the median, the least and the most', () => {
  assert.is(timesInWords([good, { ...good, milliseconds: 0.94 }, { ...good, milliseconds: 12.4 }]), '200 in 1.3 ms (0.9 to 12, 3 checks)')
  assert.is(timesInWords([bad, refused]), '503, connection refused in 2.0 ms (0.4 to 2.0, 2 checks)')
})

test('the check by hand sends what the load balancers send', () => {
  assert.is(checkByHand('10.0.0.110', check), "curl -i --max-time 10 --http1.0 -H 'Host:' http://10.0.0.110/healthz")
  assert.is(checkByHand('10.0.0.110', other), "curl -i --max-time 1 --haproxy-protocol -H 'Host: lb.example.com' http://10.0.0.110/ok")
  assert.is(checksByHand(['10.0.0.110', '10.0.0.111'], check), `for address in 10.0.0.110 10.0.0.111; do
  echo "== $address"; curl -i --max-time 10 --http1.0 -H 'Host:' http://$address/healthz
done`)
})

// The check's port is 80, so these ask an address of this machine where nothing listens there.
test('checks until they agree, and until the time is over', async () => {
  const quick = { ...check, retries: 2, timeout: 1 }
  const signal = new AbortController().signal
  const seen = await untilVerdict('127.0.0.80', quick, false, { seconds: 5, signal })
  assert.ok(seen)
  assert.is.not(seen.answer.status, 200)
  assert.ok(seen.seconds < 5)
  assert.is(await untilVerdict('127.0.0.80', quick, true, { seconds: 0.3, signal }), undefined)
  const stopped = await untilVerdict('127.0.0.80', quick, true, { seconds: 5, signal: AbortSignal.abort() }).catch((error: Error) => error.name)
  assert.is(stopped, 'AbortError')
})

test('as many checks as retries say; one answer that is enough gives up the others', async () => {
  assert.equal((await makeChecks('127.0.0.80', { ...check, retries: 2 })).map(({ status }) => status === 200), [false, false])
  const answers = await makeChecks('127.0.0.80', { ...check, retries: 10 }, { enough: () => true })
  assert.equal([answers[0]!.error, answers[9]!.error], ['connection refused', 'interrupted'])
})

test.run()
