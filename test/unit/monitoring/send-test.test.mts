import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Way } from '../../../lib/monitoring/holders.mts'
import { Refusal } from '../../../lib/run/step.mts'
import { sendsTest, triesOf, whyNot } from '../../../lib/monitoring/send-test.mts'
import { fakeMonitoring } from '../../support/fake-monitoring.mts'

const webhook: Way = { kind: 'pages', by: 'webhook' }
const email: Way = { kind: 'tickets', by: 'email' }
const metrics = (sent: number, failed: number) => `
# TYPE alertmanager_notification_requests_total counter
alertmanager_notification_requests_total{integration="webhook",receiver_name="pages"} ${sent}
alertmanager_notification_requests_total{integration="webhook",receiver_name="tickets"} 40
alertmanager_notification_requests_total{integration="email",receiver_name="tickets"} ${failed}
alertmanager_notification_requests_failed_total{integration="email",receiver_name="tickets"} ${failed}
`
const givenUp = 'alertmanager_notifications_failed_total{integration="email",reason="clientError",receiver_name="tickets"} 1'
const log = `time=2026-11-26T10:00:00Z level=WARN msg="Notify attempt failed, will retry later" component=dispatcher receiver=tickets integration=email[0] attempts=1 err="establish connection: \\"mail\\" refused"
time=2026-11-26T10:00:01Z level=INFO msg="something else" receiver=pages integration=webhook[0]`

test('a way is counted for itself', () => {
  assert.equal(triesOf(metrics(3, 2), webhook), { sent: 3, failed: 0, givenUp: 0 })
  assert.equal(triesOf(metrics(3, 2), email), { sent: 0, failed: 2, givenUp: 0 })
  assert.equal(triesOf(metrics(3, 2) + metrics(1, 1) + givenUp, email), { sent: 0, failed: 3, givenUp: 1 })
  assert.equal(triesOf('', email), { sent: 0, failed: 0, givenUp: 0 })
})

test('why a message did not get out is in the log', () => {
  assert.is(whyNot(log, email), 'establish connection: "mail" refused')
  assert.is(whyNot(log, webhook), 'its log does not say why')
  const last = 'time=2026-11-26T10:00:02Z level=ERROR msg="Notify for alerts failed" component=dispatcher num_alerts=1 err="pages/webhook[0]: notify retry canceled due to unrecoverable error after 1 attempts: unexpected status code 401"'
  assert.match(whyNot(`${log}\n${last}`, webhook), /^pages\/webhook\[0\]: .*unexpected status code 401$/)
})

test('each run sends one to every Alertmanager, and each way tells how it went', async () => {
  let asked = 0
  const { kubectl, sent } = fakeMonitoring(
    { prometheus: [], alertmanager: [{ name: 'alertmanager-0' }, { name: 'alertmanager-1' }] },
    (pod) => (pod === 'alertmanager-1' ? metrics(0, 0) : asked++ < 2 ? metrics(1, 0) : metrics(2, 1)),
    log
  )
  const step = sendsTest({ kubectl, sick: () => [] }, [webhook, email])
  assert.is(await step.check(), 'pages by webhook: none in this run\ntickets by email: none in this run')
  assert.equal(sent, [])
  await step.change!()
  assert.is(await step.check(), 'pages by webhook: Alertmanager has finished no try. Has 07 brought these settings to the cluster?\ntickets by email: Alertmanager has finished no try. Has 07 brought these settings to the cluster? Do the nodes of monitoring.pools reach backends.smtp?')
  assert.is(await step.check(), '= pages by webhook\ntickets by email: establish connection: "mail" refused')
  assert.equal(sent.map((one) => one.split(' ')[0]), ['alertmanager-0', 'alertmanager-1'])
  assert.match(sent[0]!, /amtool .*severity=page/)
  const [start = '', end = ''] = ['start', 'end'].map((name) => new RegExp(`--${name}=(\\S+)`).exec(sent[0]!)?.[1])
  assert.is(Date.parse(end) - Date.parse(start), 120_000)
})

const refusedAfter = async (...answers: string[]): Promise<Error> => {
  const { kubectl } = fakeMonitoring({ prometheus: [], alertmanager: [{ name: 'alertmanager-0' }] }, () => answers.shift()!, log)
  const step = sendsTest({ kubectl, sick: () => [] }, [webhook, email])
  await step.change!()
  while (answers.length > 1) assert.match(await step.check(), /^(= )?pages by webhook/)
  return step.check().then(() => assert.unreachable() as never, (error: Error) => error)
}

test('who has refused it several times is told at once, but not before the others were tried', async () => {
  const error = await refusedAfter(metrics(1, 0), metrics(1, 7), metrics(2, 6), metrics(2, 7))
  assert.instance(error, Refusal)
  assert.is(error.message, 'tickets by email: establish connection: "mail" refused')
})

test('who has refused it for good is not asked again', async () => {
  assert.instance(await refusedAfter(metrics(1, 0), metrics(2, 1), metrics(2, 1) + givenUp), Refusal)
})

test('without an Alertmanager nothing is sent', async () => {
  const { kubectl } = fakeMonitoring({ prometheus: [], alertmanager: [] }, () => '')
  await sendsTest({ kubectl, sick: () => [] }, [webhook]).check().then(() => assert.unreachable(), (error: Error) => assert.is(error.message, 'no pod of Alertmanager is ready'))
})

test.run()
