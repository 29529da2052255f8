import { mock } from 'node:test'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { remembered } from '../../../lib/base/wait.mts'

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
