import { mock } from 'node:test'
import { suite, test } from 'uvu'
import * as assert from 'uvu/assert'
import { remembered, until } from '../../../lib/base/wait.mts'

const clock = (): (() => Promise<string>) => {
  let fetches = 0
  return () => new Promise((resolve) => setTimeout(() => resolve(`answer ${++fetches}`), 5000))
}

test.before.each(() => mock.timers.enable({ apis: ['setTimeout', 'Date'] }))
test.after.each(() => mock.timers.reset())

test('an answer that took longer than a second to come is fetched once for all who ask', async () => {
  const answers = remembered(clock())
  const first = answers.get()
  mock.timers.tick(3000)
  const second = answers.get()
  mock.timers.tick(2000)
  assert.equal([await first, await second, await answers.get()], ['answer 1', 'answer 1', 'answer 1'])
})

test('it is fetched again a second after it came, and at once where it was forgotten', async () => {
  const answers = remembered(clock())
  const first = answers.get()
  mock.timers.tick(5000)
  await first
  mock.timers.tick(1001)
  const second = answers.get()
  mock.timers.tick(5000)
  assert.is(await second, 'answer 2')
  answers.forget()
  const third = answers.get()
  mock.timers.tick(5000)
  assert.is(await third, 'answer 3')
})

test('what could not be fetched is tried again', async () => {
  let tries = 0
  const answers = remembered(async () => {
    if (++tries === 1) throw new Error('no')
    return 'yes'
  })
  await answers.get().then(() => assert.unreachable(), () => {})
  mock.timers.tick(1001)
  assert.is(await answers.get(), 'yes')
})

test.run()

// With the real clock: the hooks above are of the other suite.
const waiting = suite('until')
const { signal } = new AbortController()

const says = (...answers: string[]): { ask: () => Promise<string>; asked: () => number } => {
  let asked = 0
  return { ask: async () => answers[Math.min(asked++, answers.length - 1)]!, asked: () => asked }
}

waiting('it is asked until nothing is wrong any more', async () => {
  const { ask, asked } = says('one', 'two', '', 'never asked')
  assert.is(await until(ask, { seconds: 5, signal, every: 0.01 }), '')
  assert.is(asked(), 3)
})

waiting('when the time has passed the last answer counts', async () => {
  const { ask, asked } = says('one', 'two')
  assert.is(await until(ask, { seconds: 0.05, signal, every: 0.01 }), 'two')
  assert.ok(asked() > 1)
})

waiting('it is asked once where there is no time', async () => {
  const { ask, asked } = says('one', 'two')
  assert.is(await until(ask, { seconds: 0, signal }), 'one')
  assert.is(asked(), 1)
})

waiting('an error is an answer, which may be followed by a better one', async () => {
  let asked = 0
  const ask = async (): Promise<string> => {
    if (++asked < 3) throw new Error('not yet')
    return ''
  }
  assert.is(await until(ask, { seconds: 5, signal, every: 0.01 }), '')
  assert.is(await until(() => Promise.reject(new Error('no')), { seconds: 0, signal }), 'no')
})

waiting('an interruption is thrown, while it is asked and between two answers', async () => {
  const nameOf = (wait: Promise<string>): Promise<string> => wait.then(() => 'none', (error: Error) => error.name)
  const aborted = (): Promise<string> => Promise.reject(new DOMException('stop', 'AbortError'))
  assert.is(await nameOf(until(aborted, { seconds: 0, signal })), 'AbortError')
  const stop = new AbortController()
  setTimeout(() => stop.abort(), 20)
  const began = performance.now()
  assert.is(await nameOf(until(async () => 'no', { seconds: 60, signal: stop.signal, every: 60 })), 'AbortError')
  assert.ok(performance.now() - began < 5000)
})

waiting.run()
