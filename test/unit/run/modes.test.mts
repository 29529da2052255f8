import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Outcome, Taking } from '../../../lib/run/modes.mts'
import type { NodeStep } from '../../../lib/run/step.mts'
import { useFakeSsh } from '../../support/fake-ssh.mts'
import { hostOf } from '../../support/hosts.mts'

const folder = useFakeSsh()
const { apply, plan, validate } = await import('../../../lib/run/modes.mts')
const { Refusal } = await import('../../../lib/run/step.mts')
const { ApiAway } = await import('../../../lib/reach/kubectl.mts')
const { createSsh } = await import('../../../lib/reach/ssh.mts')

const taking = (more: Partial<Taking> = {}) => {
  const outcomes: string[] = []
  const all: Outcome[] = []
  const doing: string[] = []
  const ssh = createSsh()
  const on: Taking = {
    host: hostOf('a'), ssh, away: new Set(), sick: new Set(), names: ['a', 'a-1', 'b'], signal: new AbortController().signal,
    begins: (what) => void doing.push(what),
    outcome: (one) => {
      outcomes.push(`${one.step}: ${one.result}`)
      all.push(one)
    },
    ...more
  }
  return { on, outcomes, all, doing, ssh }
}
const alone = { dependent: false, isChanging: () => false }

let files = 0
const newFile = (): string => join(folder, `fact-${files++}`)
const fact = (file: string, name = 'has the file'): NodeStep => ({
  name, check: `[[ -e ${file} ]] || echo is missing`, change: `touch ${file}`
})
const look = 'ls'
const byHand = 'touch it'

test('a plan changes nothing, and tells what depends on a change as unknown', async () => {
  const file = newFile()
  const { on, outcomes } = taking()
  await plan([{ name: 'is fit', check: 'true' }, fact(file), { name: 'is ready', check: `cat ${file}` }], on, alone)
  assert.equal(outcomes, ['is fit: ok', 'has the file: pending', 'is ready: unknown'])
  assert.not(existsSync(file))
})

test('a plan tells every assertion that fails, not the first only, and no change that would not be made', async () => {
  const { on, outcomes } = taking()
  await plan([{ name: 'x', check: 'echo bad' }, { name: 'y', check: 'echo bad' }, fact(newFile())], on, alone)
  assert.equal(outcomes, ['x: failed', 'y: failed', 'has the file: skipped'])
})

test('a plan of a host is one ssh command', async () => {
  const { on, ssh } = taking()
  await plan([fact(newFile(), 'one'), { name: 'two', check: 'true' }, fact(newFile(), 'three')], on, alone)
  assert.is(ssh.traffic.commands, 1)
})

test('in a plan that depends on another one an assertion is unknown, unless an apply would refuse in any case', async () => {
  const { on, outcomes, all } = taking()
  await plan([{ name: 'x', check: 'echo bad' }, { name: 'y', check: 'echo bad', always: true }], on, { ...alone, dependent: true })
  assert.equal(outcomes, ['x: unknown', 'y: failed'])
  assert.is(all[0]!.words, 'known once applied')
})

test('a check that could not tell is no change that is pending', async () => {
  const { on, all } = taking()
  await plan([{ name: 'x', check: 'echo why >&2; exit 3', change: 'true', hint: 'look there' }], on, alone)
  assert.equal(all, [{ step: 'x', result: 'failed', words: 'why\nexit 3', hint: 'look there' }])
})

test('what may stop holding after an earlier change follows it', async () => {
  const step: NodeStep = { name: 'runs it', check: 'true', change: 'true', follows: true }
  const [changing, quiet] = [taking(), taking()]
  await plan([step], changing.on, { ...alone, isChanging: () => true })
  await plan([step], quiet.on, alone)
  assert.equal([changing.outcomes, quiet.outcomes], [['runs it: unknown'], ['runs it: ok']])
  assert.is(changing.all[0]!.words, 'follows the changes above')
})

test('a validation changes nothing, and what would be changed has failed, with the script that mends it', async () => {
  const file = newFile()
  const { on, outcomes, all } = taking()
  await validate([fact(file), { name: 'is ready', check: `cat ${file}` }, { name: 'is fit', check: 'echo "= 3 of 4"' }], on, '09_k3s_99')
  assert.equal(outcomes, ['has the file: failed', 'is ready: failed', 'is fit: ok'])
  assert.is(all[0]!.hint, 'run 09_k3s_99, which mends it')
  assert.is(all[1]!.hint, undefined)
  assert.is(all[2]!.evidence, '3 of 4')
  assert.not(existsSync(file))
})

test('that the API is away is told once, and with no remedy, for none would help', async () => {
  const { on, all } = taking()
  const check = async (): Promise<string> => { throw new ApiAway('the API does not answer', { exitCode: 1, stdout: '' }) }
  await validate([
    { name: 'has the objects', check, look, change: async () => assert.unreachable(), byHand },
    { name: 'has the room', check, look, hint: 'add a worker' }
  ], on, '09_k3s_99')
  assert.equal(all, [
    { step: 'has the objects', result: 'failed', words: 'the API does not answer' },
    { step: 'has the room', result: 'skipped', words: 'because the API does not answer' }
  ])
})

test('a plan skips what has the same reason, also after a pending change', async () => {
  const { on, all } = taking()
  const away = (): Promise<string> => Promise.reject(Object.assign(new Error('no answer'), { away: 'Vault does not answer' }))
  await plan([{ name: 'answers', check: away, look }, fact(newFile()), { name: 'has a role', check: away, look, change: async () => {}, byHand }], on, alone)
  assert.equal(all.map(({ step, result, words }) => [step, result, words]), [
    ['answers', 'failed', 'no answer'],
    ['has the file', 'skipped', 'because of the failure above'],
    ['has a role', 'skipped', 'because Vault does not answer']
  ])
})

test('ctrl-C ends the waiting for a fact that the bastion looks at', async () => {
  const { on } = taking({ signal: AbortSignal.timeout(200) })
  const began = performance.now()
  const waiting = apply([{ name: 'comes', check: async () => 'not yet', look, within: 60 }], on)
  assert.is(await waiting.then(() => '', (error: Error) => error.name), 'AbortError')
  assert.ok(performance.now() - began < 5000)
})

test('a trial is left out of a plan, and made in an apply and in a validation', async () => {
  const steps = [{ name: 'carries a load', check: async () => '', look, trial: true }]
  const { on, outcomes } = taking()
  await plan(steps, on, alone)
  assert.equal(outcomes, [])
  await apply(steps, on)
  await validate(steps, on, '09_k3s_99')
  assert.equal(outcomes, ['carries a load: ok', 'carries a load: ok'])
})

test('an apply changes what differs, and the next one finds nothing to do', async () => {
  const [one, two] = [newFile(), newFile()]
  const steps = [fact(one, 'one'), fact(two, 'two'), { name: 'has both', check: `ls ${one} ${two} >/dev/null` }]
  const first = taking()
  await apply(steps, first.on)
  assert.equal(first.outcomes, ['one: changed', 'two: changed', 'has both: ok'])
  assert.equal([first.all[0]!.words, first.doing.slice(0, 2)], ['is missing', ['one', 'one']])
  const second = taking()
  await apply(steps, second.on)
  assert.equal(second.outcomes, ['one: ok', 'two: ok', 'has both: ok'])
})

test('a change after which the fact still does not hold has failed, and the steps behind it are not taken', async () => {
  const file = newFile()
  const { on, outcomes } = taking()
  await apply([{ name: 'x', check: 'echo still off', change: 'true' }, fact(file, 'later')], on)
  assert.equal(outcomes, ['x: failed'])
  assert.not(existsSync(file))
})

test('a change that fails is told in its own words, with the hint of the step', async () => {
  const refuse = async (): Promise<void> => { throw new Error('refused') }
  const shell: NodeStep = { name: 'x', check: 'echo off', change: 'echo refused >&2; exit 4', hint: 'look there' }
  for (const [step, words] of [
    [shell, 'refused\nexit 4'],
    [{ name: 'x', check: 'echo off', change: refuse, byHand, hint: 'look there' }, 'refused'],
    [{ name: 'x', check: async () => 'off', look, change: 'echo refused >&2; exit 4', hint: 'look there' }, 'refused\nexit 4']
  ] as [NodeStep, string][]) {
    const { on, all } = taking()
    await apply([step, fact(newFile(), 'later')], on)
    assert.equal(all, [{ step: 'x', result: 'failed', words, hint: 'look there' }])
  }
})

test('a fact in shell is waited for after a change from the bastion', async () => {
  const file = newFile()
  const { on, outcomes } = taking()
  await apply([{
    name: 'comes', within: 10, check: `[[ -e ${file} ]] || echo not yet`,
    change: async () => void setTimeout(() => writeFileSync(file, ''), 700), byHand
  }], on)
  assert.equal(outcomes, ['comes: changed'])
})

test('an assertion from the bastion is waited for, a fact that can be changed only once it was', async () => {
  let [asserted, changed] = [0, 0]
  const { on, outcomes } = taking()
  await apply([
    { name: 'comes', within: 5, check: async () => (++asserted > 1 ? '' : 'not yet'), look },
    { name: 'is made', within: 5, check: async () => (++changed > 1 ? '' : 'not yet'), look, change: async () => assert.is(changed, 1), byHand }
  ], on)
  assert.equal(outcomes, ['comes: ok', 'is made: changed'])
  assert.equal([asserted, changed], [2, 2])
})

test('a refusal is not waited for: time mends it no more than a change', async () => {
  const { on, all } = taking()
  let asked = 0
  const check = async (): Promise<string> => { throw new Refusal(`asked ${++asked} times`) }
  await apply([{ name: 'comes', within: 5, check, look }], on)
  assert.is(all[0]!.words, 'asked 1 times')
})

test('functions and shell are taken in their order', async () => {
  const seen: string[] = []
  const { on, outcomes } = taking()
  const file = newFile()
  await apply([
    fact(file, 'shell'),
    { name: 'function', check: async () => (seen.push(String(existsSync(file))), seen.length > 1 ? '' : 'off'), look, change: async () => {}, byHand },
    { name: 'shell again', check: 'true' }
  ], on)
  assert.equal(outcomes, ['shell: changed', 'function: changed', 'shell again: ok'])
  assert.equal(seen, ['true', 'true'])
})

test('a check that ends the whole script does not pass the others off as holding', async () => {
  const { on, outcomes } = taking()
  const steps = [{ name: 'x', check: 'true' }, { name: 'y', check: 'kill -9 $$' }, { name: 'z', check: 'true' }]
  const words = await validate(steps, on, '09_k3s_99').then(() => '', (error: Error) => error.message)
  assert.match(words, /exit 137$/)
  assert.equal(outcomes, [])
})

test('a refusal fails a plan as what must always hold, also after a pending change; other errors of that check do not', async () => {
  const step = (error: Error): NodeStep => ({ name: 'has one key', look, byHand, check: () => Promise.reject(error), change: async () => {} })
  const { on, all, outcomes } = taking()
  await plan([fact(newFile()), step(new Refusal('two keys')), step(new ApiAway('away', { exitCode: 1, stdout: '' }))], on, alone)
  assert.equal(outcomes, ['has the file: pending', 'has one key: failed', 'has one key: unknown'])
  assert.equal(all.map(({ refuses }) => refuses), [undefined, true, undefined])
  assert.is(all[1]!.words, 'two keys')
})

test('what must always hold is marked, so that nothing of the plan is applied', async () => {
  const { on, all } = taking()
  await plan([{ name: 'may go', check: 'echo is newer', always: true }, { name: 'is well', check: 'echo ill' }], on, alone)
  assert.equal(all.map(({ step, refuses }) => [step, refuses]), [['may go', true], ['is well', undefined]])
})

test('after an interruption no check begins, and no change', async () => {
  const interrupt = new AbortController()
  const file = newFile()
  const { on } = taking({ signal: interrupt.signal })
  const asked: string[] = []
  const steps = [
    { name: 'one', look, check: async () => (asked.push('one'), interrupt.abort(), 'off'), change: async () => void asked.push('made'), byHand },
    fact(file)
  ]
  for (const told of [apply(steps, on), plan(steps, on, alone)]) {
    assert.is(await told.then(() => '', (error: Error) => error.name), 'AbortError')
  }
  assert.equal(asked, ['one'])
  assert.not(existsSync(file))
})

test('a check that hangs is named, in shell and as a function, and the others are looked at', async () => {
  const { on, all } = taking()
  const ssh = { ...on.ssh, run: (...[host, shell, options]: Parameters<typeof on.ssh.run>) => on.ssh.run(host, shell, { ...options, timeout: 3 }) }
  await validate([
    { name: 'one', check: 'true' },
    { name: 'hangs', check: 'sleep 30' },
    { name: 'two', check: 'echo off' },
    { name: 'hangs too', look, check: () => new Promise(() => {}), timeout: 0.2 },
    { name: 'three', check: 'true' }
  ], { ...on, ssh }, '09_k3s_99')
  assert.equal(all.map(({ step, result }) => `${step}: ${result}`), ['one: ok', 'hangs: failed', 'two: failed', 'hangs too: failed', 'three: ok'])
  assert.match(all[1]?.words ?? '', /^did not end within \d+ s$/)
  assert.is(all[3]?.words, 'did not end within 0.2 s')
})

test('an apply says how many steps it did not reach', async () => {
  const { on } = taking()
  assert.is(await apply([{ name: 'one', check: 'true' }, { name: 'two', check: 'echo off' }, { name: 'three', check: 'true' }], on), 1)
  assert.is(await apply([{ name: 'one', check: 'true' }], on), 0)
})

test('a node that says nothing of a check has not passed it, and is not asked for ever', async () => {
  const ssh = { ...createSsh(), run: async () => ({ stdout: '', stderr: '', exitCode: 0 }) }
  const { on, outcomes } = taking({ ssh })
  const steps: NodeStep[] = [{ name: 'x', check: 'true' }, { name: 'y', check: 'true' }]
  for (const told of [plan(steps, on, alone), validate(steps, on, '09_k3s_99'), apply(steps, on)]) {
    assert.is(await told.then(() => '', (error: Error) => error.message), 'the node ended the script before its first check')
  }
  assert.equal(outcomes, [])
})

test('a node that is not well is one finding of a validation: what else fails on it is skipped, and no trial is made', async () => {
  const { on, outcomes } = taking()
  await validate([
    { name: 'is Ready', check: 'echo NotReady', vital: true }, { name: 'has pods', check: 'echo none' }, { name: 'has swap off', check: 'true' }
  ], on, '09_k3s_99')
  assert.equal(outcomes.splice(0), ['is Ready: failed', 'has pods: skipped', 'has swap off: ok'])
  const { host: _, ...cluster } = on
  await validate([{ name: 'carries a load', look, check: () => assert.unreachable() as never, trial: true }], cluster, '09_k3s_99')
  assert.equal(outcomes, ['carries a load: skipped'])
})

test('what names only nodes that are not well is theirs, what names another one too is not', async () => {
  const { on, outcomes } = taking({ sick: new Set(['a']) })
  const { host: _, ...cluster } = on
  const step = (name: string, words: string) => ({ name, look, check: async () => words })
  await validate([
    step('runs', '2 of 3 are ready\na: Node is not ready'), step('answers', 'b answers by itself, a does not'), step('votes', '2 of 3 vote'),
    step('other', 'a-1 is not Ready'), step('holds', '')
  ], cluster, '09_k3s_99')
  assert.equal(outcomes, ['runs: skipped', 'answers: failed', 'votes: failed', 'other: failed', 'holds: ok'])
})

test.run()
