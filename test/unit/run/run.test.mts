import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Outcome, Run } from '../../../lib/run/run.mts'
import type { Host } from '../../../lib/input/inventory.mts'
import type { Step } from '../../../lib/run/step.mts'
import { useFakeSsh } from '../../support/fake-ssh.mts'

const folder = useFakeSsh()
const { createRun } = await import('../../../lib/run/run.mts')
const { ApiAway } = await import('../../../lib/reach/kubectl.mts')
const { run: ssh, Unreachable } = await import('../../../lib/reach/ssh.mts')
const { defaultSettings } = await import('../../../lib/input/settings.mts')

const host = (name: string, address = '192.0.2.1'): Host => ({
  name, address, publicAddress: '', user: 'root', fqdn: '', role: 'agent', stack: 'k3s-node', pool: 'general', line: 2
})
const a = host('a')
const b = host('b')
const dead = host('dead', '192.0.2.255')

const tell = (mode: Run['mode'], hosts: Host[], chosen = hosts, signal = new AbortController().signal) => {
  const outcomes: string[] = []
  const all: Outcome[] = []
  const notes: string[] = []
  const run = createRun({
    mode, script: '09_k3s_99', hosts, chosen, settings: defaultSettings(), flags: {}, pending: false, signal,
    listener: {
      begins: () => {},
      ends: () => {},
      note: (line) => notes.push(line),
      outcome: (target, outcome) => {
        outcomes.push(`${target} ${outcome.step}: ${outcome.result}`)
        all.push(outcome)
      }
    }
  })
  return { run, outcomes, all, notes }
}

let files = 0
const newFile = () => join(folder, `fact-${files++}`)
const fact = (file: string, name = 'has the file'): Step => ({
  name, check: `[[ -e ${file} ]] || echo is missing`, change: `touch ${file}`
})

test('a plan changes nothing, and tells what depends on a change as unknown', async () => {
  const file = newFile()
  const { run, outcomes } = tell('plan', [a])
  await run.on([a], () => [{ name: 'is fit', check: 'true' }, fact(file), { name: 'is ready', check: `cat ${file}` }])
  assert.equal(outcomes, ['a is fit: ok', 'a has the file: pending', 'a is ready: unknown'])
  assert.not(existsSync(file))
})

test('a plan tells every assertion that fails, not the first only, and no change that would not be made', async () => {
  const { run, outcomes } = tell('plan', [a])
  await run.on([a], () => [{ name: 'x', check: 'echo bad' }, { name: 'y', check: 'echo bad' }, fact(newFile())])
  assert.equal(outcomes, ['a x: failed', 'a y: failed'])
})

test('a validation changes nothing, and what would be changed has failed, with the script that mends it', async () => {
  const file = newFile()
  const { run, outcomes, all } = tell('validate', [a])
  await run.on([a], () => [fact(file), { name: 'is ready', check: `cat ${file}` }, { name: 'is fit', check: 'echo "= 3 of 4"' }])
  assert.equal(outcomes, ['a has the file: failed', 'a is ready: failed', 'a is fit: ok'])
  assert.is(all[0]!.hint, 'run 09_k3s_99, which mends it')
  assert.is(all[2]!.evidence, '3 of 4')
  assert.not(existsSync(file))
})

test('where the API is away no remedy is named, for none would help', async () => {
  const { run, all } = tell('validate', [a])
  const check = async (): Promise<string> => { throw new ApiAway('the API does not answer', { exitCode: 1, stdout: '' }) }
  await run.once([
    { name: 'has the objects', check, change: async () => assert.unreachable() },
    { name: 'has the room', check, hint: 'add a worker' }
  ])
  assert.equal(all, ['has the objects', 'has the room'].map((step) => ({ step, result: 'failed', words: 'the API does not answer' })))
})

test('ctrl-C ends the waiting for a fact that the bastion looks at', async () => {
  const { run } = tell('apply', [a], [a], AbortSignal.timeout(200))
  const began = performance.now()
  const waiting = run.once([{ name: 'comes', check: async () => 'not yet', within: 60 }])
  assert.is(await waiting.then(() => '', (error: Error) => error.name), 'AbortError')
  assert.ok(performance.now() - began < 5000)
})

test('a trial is left out of a plan, and made in an apply and in a validation', async () => {
  const steps = [{ name: 'carries a load', check: async () => '', trial: true }]
  for (const [mode, expected] of [['plan', []], ['apply', ['cluster carries a load: ok']], ['validate', ['cluster carries a load: ok']]] as const) {
    const { run, outcomes } = tell(mode, [a])
    await run.once(steps)
    assert.equal(outcomes, expected)
  }
})

test('an apply changes what differs, and the next one finds nothing to do', async () => {
  const [one, two] = [newFile(), newFile()]
  const steps = () => [fact(one, 'one'), fact(two, 'two'), { name: 'has both', check: `ls ${one} ${two} >/dev/null` }]
  const first = tell('apply', [a])
  await first.run.on([a], steps)
  assert.equal(first.outcomes, ['a one: changed', 'a two: changed', 'a has both: ok'])
  const second = tell('apply', [a])
  await second.run.on([a], steps)
  assert.equal(second.outcomes, ['a one: ok', 'a two: ok', 'a has both: ok'])
})

test('a change after which the fact still does not hold has failed, and stops the host', async () => {
  const { run, outcomes } = tell('apply', [a])
  await run.on([a], () => [{ name: 'x', check: 'echo still off', change: 'true' }, fact(newFile(), 'later')])
  await run.on([a], () => [fact(newFile(), 'next phase')])
  assert.equal(outcomes, ['a x: failed'])
})

test('a fact in shell is waited for after a change from the bastion', async () => {
  const file = newFile()
  const { run, outcomes } = tell('apply', [a])
  await run.on([a], () => [{
    name: 'comes', within: 10, check: `[[ -e ${file} ]] || echo not yet`,
    change: async () => void setTimeout(() => writeFileSync(file, ''), 1500)
  }])
  assert.equal(outcomes, ['a comes: changed'])
})

test('functions and shell are taken in their order', async () => {
  const seen: string[] = []
  const { run, outcomes } = tell('apply', [a])
  const file = newFile()
  await run.on([a], () => [
    fact(file, 'shell'),
    { name: 'function', check: async () => (seen.push(String(existsSync(file))), seen.length > 1 ? '' : 'off'), change: async () => {} },
    { name: 'shell again', check: 'true' }
  ])
  assert.equal(outcomes, ['a shell: changed', 'a function: changed', 'a shell again: ok'])
  assert.equal(seen, ['true', 'true'])
})

test('an unreachable host fails alone, and the others finish', async () => {
  const { run, outcomes, all } = tell('apply', [a, dead, b])
  await run.on([a, dead, b], () => [{ name: 'x', check: 'true' }])
  assert.equal(outcomes.toSorted(), ['a x: ok', 'b x: ok', 'dead answers over ssh: failed'])
  assert.is(all.find(({ result }) => result === 'failed')!.words, [
    'unreachable: ssh root@192.0.2.255 exit 255',
    'ssh: connect to host 192.0.2.255 port 22: Connection timed out  Hint: ssh -v root@192.0.2.255'
  ].join('\n'))
})

test('one after the other: a failure stops those that follow', async () => {
  const { run, outcomes, notes } = tell('apply', [a, b])
  await run.on([a, b], ({ name }) => [{ name: 'x', check: `[[ ${name} == b ]] || echo off` }], 'serial')
  assert.equal(outcomes, ['a x: failed'])
  assert.equal(notes, ['b is not tried, because a failed'])
})

test('hosts that were not chosen are left alone', async () => {
  const { run, outcomes } = tell('apply', [a, b], [b])
  await run.on([a, b], () => [{ name: 'x', check: 'true' }])
  assert.equal(outcomes, ['b x: ok'])
})

test('what may stop holding after an earlier change is told as unknown', async () => {
  const { run, outcomes } = tell('plan', [a])
  await run.on([a], () => [fact(newFile()), { name: 'runs it', check: 'true', change: 'true', follows: true }])
  assert.equal(outcomes, ['a has the file: pending', 'a runs it: unknown'])
})

test('an interrupted script leaves nothing running on the node', async () => {
  const file = newFile()
  const interrupt = new AbortController()
  const running = ssh(a, `echo $$ > ${file}; sleep 1000`, { signal: interrupt.signal })
  while (!existsSync(file) || readFileSync(file, 'utf8') === '') await sleep(20)
  interrupt.abort()
  await running.then(() => assert.unreachable(), (error: Error) => assert.is(error.name, 'AbortError'))
  const pid = readFileSync(file, 'utf8').trim()
  for (let tries = 0; tries < 100 && existsSync(`/proc/${pid}`); tries++) await sleep(50)
  assert.not(existsSync(`/proc/${pid}`))
})

test('a script that takes too long is ended by the node, and says so', async () => {
  const { exitCode, stderr } = await ssh(a, 'sleep 1000', { timeout: 1 })
  assert.is(exitCode, 124)
  assert.match(stderr, /took longer than 1 s and was ended/)
})

test('nothing of a script is seen in the list of processes', async () => {
  writeFileSync(newFile(), '')
  const { stdout } = await ssh(a, `secret=hunter2-in-the-script; ps axww -o args | grep -c 'hunter2-in-[t]he-script' || true`)
  assert.is(stdout.trim(), '0')
})

test('a node that does not answer is Unreachable, a script that fails is a result', async () => {
  assert.is((await ssh(a, 'exit 7')).exitCode, 7)
  await ssh(dead, 'true').then(() => assert.unreachable(), (error) => assert.instance(error, Unreachable))
})

test.run()
