// What the lab says while it works, where its words stay: in a log, or in CI.
import { setTimeout as sleep } from 'node:timers/promises'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { createProgress } from '../lab/progress.mts'
import { eventually } from '../support/eventually.mts'

const record = (heartbeat: number) => {
  const lines: string[] = []
  const write = (text: string): void => void lines.push(text.replace(/^\d\d:\d\d:\d\d /, '').replace(/[\d.]+ s/, 'N s'))
  const said = (count: number): Promise<void> => eventually(`${count} lines`, () => lines.length >= count)
  return { lines, said, progress: createProgress({ terminal: false, write, heartbeat }) }
}

test('a task that goes on in silence says so again and again, and no longer once it has ended', async () => {
  const { lines, said, progress } = record(40)
  await progress.task('K3s', async (say) => {
    say('compiling ...')
    await said(3)
  })
  await sleep(80)
  assert.is(lines[0], '… K3s\n')
  assert.is(lines.at(-1), '✓ K3s  N s\n')
  assert.equal(new Set(lines.slice(1, -1)), new Set(['… K3s: compiling, N s so far\n']))
})

test('one that has said nothing yet is at work; one that fails is silent from then on', async () => {
  const { lines, said, progress } = record(40)
  await progress.task('base image', async () => {
    await said(2)
    throw new Error('no registry')
  }).catch(() => {})
  await sleep(80)
  assert.is(lines[1], '… base image: at work, N s so far\n')
  assert.is(lines.at(-1), '✗ base image  N s\n')
})

test('tasks at once each say that they go on', async () => {
  const { lines, said, progress } = record(40)
  await Promise.all(['node image', 'tools image'].map((name) => progress.task(name, () => said(4))))
  for (const name of ['node image', 'tools image']) assert.ok(lines.includes(`… ${name}: at work, N s so far\n`), lines.join(''))
})

test('a short task says no more than its beginning and its end', async () => {
  const { lines, progress } = record(20_000)
  await progress.task('machines', async (say) => say('13 of 13 up'))
  assert.equal(lines, ['… machines\n', '✓ machines  N s\n'])
})

test.run()
