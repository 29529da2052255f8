import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Outcome } from '../../../lib/run/modes.mts'
import type { NodeStep } from '../../../lib/run/step.mts'
import { fakeKubectl } from '../../support/fake-kubectl.mts'
import { useFakeSsh } from '../../support/fake-ssh.mts'
import { hostOf } from '../../support/hosts.mts'

const folder = useFakeSsh()
const { createRun } = await import('../../../lib/run/run.mts')
const { createSsh } = await import('../../../lib/reach/ssh.mts')
const { defaultSettings } = await import('../../../lib/input/settings.mts')

const a = hostOf('a')
const b = hostOf('b')
const c = hostOf('c')
const dead = hostOf('dead', { address: '192.0.2.255' })

type Options = Partial<Pick<Parameters<typeof createRun>[0], 'chosen' | 'signal' | 'pending' | 'settings'>>

const tell = (mode: 'plan' | 'apply' | 'validate', hosts = [a], options: Options = {}) => {
  const outcomes: string[] = []
  const all: Outcome[] = []
  const notes: string[] = []
  const ended: string[] = []
  const { signal = new AbortController().signal } = options
  const run = createRun({
    mode, script: '09_k3s_99', hosts, machines: [], chosen: hosts, settings: defaultSettings(), pending: false, signal,
    ssh: createSsh({ signal }), kubectl: fakeKubectl(() => ''), release: () => Promise.reject(new Error('no step asks for it')),
    listener: {
      begins: () => {},
      ends: (target) => ended.push(target),
      note: (line) => notes.push(line),
      outcome: (target, outcome) => {
        outcomes.push(`${target} ${outcome.step}: ${outcome.result}`)
        all.push(outcome)
      }
    },
    ...options
  })
  return { run, outcomes, all, notes, ended }
}

let files = 0
const newFile = (): string => join(folder, `fact-${files++}`)
const fact = (file: string, name = 'has the file'): NodeStep => ({
  name, check: `[[ -e ${file} ]] || echo is missing`, change: `touch ${file}`
})
const bad: NodeStep = { name: 'x', check: 'echo off' }
const good: NodeStep = { name: 'x', check: 'true' }

test('each mode takes the steps in its own way', async () => {
  for (const [mode, result, made] of [['plan', 'pending', false], ['validate', 'failed', false], ['apply', 'changed', true]] as const) {
    const file = newFile()
    const { run, outcomes, ended } = tell(mode)
    await run.on([a], () => [fact(file)])
    assert.equal(outcomes, [`a has the file: ${result}`])
    assert.equal(ended, ['a'])
    assert.is(existsSync(file), made)
    assert.is(run.mode, mode)
  }
})

test('a validation names the script that mends', async () => {
  const { run, all } = tell('validate')
  await run.on([a], () => [fact(newFile())])
  assert.is(all[0]!.hint, 'run 09_k3s_99, which mends it')
})

test('a host on which something failed is left alone from then on', async () => {
  const file = newFile()
  const { run, outcomes } = tell('apply', [a, b])
  await run.on([a, b], ({ name }) => [name === 'a' ? { name: 'x', check: 'echo still off', change: 'true' } : good, fact(file, 'later')])
  await run.on([a, b], ({ name }) => [fact(`${file}-${name}`, 'next phase')])
  assert.equal(outcomes.toSorted(), ['a what follows: skipped', 'a x: failed', 'b later: changed', 'b next phase: changed', 'b x: ok'])
  assert.not(existsSync(`${file}-a`))
  assert.equal([run.stands(a), run.stands(b)], [false, true])
})

test('an unreachable host fails alone, and the others finish', async () => {
  const { run, outcomes, all } = tell('apply', [a, dead, b])
  await run.on([a, dead, b], () => [good])
  assert.equal(outcomes.toSorted(), ['a x: ok', 'b x: ok', 'dead answers over ssh: failed'])
  assert.is(all.find(({ result }) => result === 'failed')!.words, [
    'unreachable: ssh root@192.0.2.255 exit 255',
    'ssh: connect to host 192.0.2.255 port 22: Connection timed out  Hint: ssh -v root@192.0.2.255'
  ].join('\n'))
})

test('where the steps of a host cannot be made, only it fails', async () => {
  const { run, outcomes, all } = tell('plan', [a, b])
  await run.on([a, b], ({ name }) => {
    if (name === 'a') throw new Error('has no NIC')
    return [good]
  })
  assert.equal(outcomes.toSorted(), ['a can be worked on: failed', 'b x: ok'])
  assert.is(all.find(({ result }) => result === 'failed')!.words, 'has no NIC')
})

test('an interruption ends the run, and is no failure of a host', async () => {
  const interrupt = new AbortController()
  const { run, outcomes } = tell('apply', [a, b], { signal: interrupt.signal })
  const running = run.on([a, b], () => [{ name: 'x', check: 'sleep 60' }])
  setTimeout(() => interrupt.abort(), 200)
  assert.is(await running.then(() => '', (error: Error) => error.name), 'AbortError')
  assert.equal(outcomes, [])
})

/** Counts who is in it at once. Who enters stays until `expected` were, and a little longer, for those that must not come. */
const crowd = () => {
  let [now, most] = [0, 0]
  const enters = async (expected: number): Promise<void> => {
    most = Math.max(most, ++now)
    for (const end = performance.now() + 10_000; most < expected && performance.now() < end;) await sleep(5)
    await sleep(30)
    now--
  }
  return { enters, most: () => most }
}

test('one at a time: a failure stops those that follow', async () => {
  const { run, outcomes, all } = tell('apply', [a, b])
  await run.on([a, b], ({ name }) => [{ name: 'x', check: `[[ ${name} == b ]] || echo off` }], { atOnce: 1 })
  assert.equal(outcomes, ['a x: failed', 'b what follows: skipped'])
  assert.is(all[1]?.words, 'because a failed')
})

test('the first host goes alone, and where it fails no other one is touched', async () => {
  const hosts = [a, b, c, hostOf('d')]
  for (const sick of ['', 'a']) {
    const { enters, most } = crowd()
    const begun: string[] = []
    const { run, outcomes } = tell('apply', hosts)
    await run.on(hosts, ({ name }) => [{
      name: 'x', look: '',
      check: async () => {
        begun.push(name)
        await enters(name === 'a' ? 1 : 3)
        if (name === 'a') assert.is(most(), 1)
        return name === sick ? 'off' : ''
      }
    }], { atOnce: 3, firstAlone: true })
    if (sick === 'a') assert.equal(outcomes.toSorted(), ['a x: failed', ...['b', 'c', 'd'].map((name) => `${name} what follows: skipped`)])
    else assert.equal([begun.toSorted(), most()], [['a', 'b', 'c', 'd'], 3])
  }
})

test('one at a time is for an apply only: the others look at all hosts', async () => {
  for (const mode of ['plan', 'validate'] as const) {
    const { run, outcomes, notes } = tell(mode, [a, b])
    await run.on([a, b], () => [bad], { atOnce: 1 })
    assert.equal(outcomes.toSorted(), ['a x: failed', 'b x: failed'])
    assert.equal(notes, [])
  }
})

test('as many hosts at once as the settings say, or as the step allows', async () => {
  const atOnce = async (expected: number, mode: 'plan' | 'apply', parallel: number, options: { atOnce?: number }): Promise<void> => {
    const settings = { ...defaultSettings(), ssh: { ...defaultSettings().ssh, parallel } }
    const { run } = tell(mode, [a, b, c], { settings })
    const { enters, most } = crowd()
    await run.on([a, b, c], () => [{ name: 'x', look: 'ls', check: async () => (await enters(expected), '') }], options)
    assert.is(most(), expected)
  }
  await atOnce(3, 'apply', 3, {})
  await atOnce(2, 'apply', 2, {})
  await atOnce(1, 'apply', 3, { atOnce: 1 })
  await atOnce(3, 'plan', 3, { atOnce: 1 })
})

test('hosts that were not chosen are left alone', async () => {
  const { run, outcomes } = tell('apply', [a, b], { chosen: [b] })
  await run.on([a, b], () => [good])
  assert.equal(outcomes, ['b x: ok'])
})

test('what may stop holding after an earlier change is told as unknown', async () => {
  const { run, outcomes } = tell('plan')
  await run.on([a], () => [fact(newFile()), { name: 'runs it', check: 'true', change: 'true', follows: true }])
  assert.equal(outcomes, ['a has the file: pending', 'a runs it: unknown'])
})

test('an assertion is unknown where anything before it is pending, also on another host or in another script', async () => {
  const step = { name: 'is one', check: async () => 'is none', look: 'ls' }
  const [apart, after, later] = [tell('plan', [a, b]), tell('plan', [a, b]), tell('plan', [a], { pending: true })]
  await apart.run.on([a, b], ({ name }) => (name === 'a' ? [fact(newFile())] : [bad]))
  assert.equal(apart.outcomes.toSorted(), ['a has the file: pending', 'b x: failed'])
  await after.run.on([a], () => [fact(newFile())])
  await after.run.on([b], () => [bad])
  await after.run.once([step])
  assert.equal(after.outcomes, ['a has the file: pending', 'b x: unknown', 'cluster is one: unknown'])
  await later.run.once([step])
  assert.equal(later.outcomes, ['cluster is one: unknown'])
})

test('steps of the cluster stop at the first that fails, and the hosts go on', async () => {
  const { run, outcomes } = tell('apply')
  const asked: string[] = []
  const step = (name: string, words: string) => ({ name, look: 'ls', check: async () => (asked.push(name), words) })
  await run.once([step('one', ''), step('two', 'off'), step('three', '')])
  await run.once([step('four', '')])
  await run.on([a], () => [good])
  assert.equal(outcomes, ['cluster one: ok', 'cluster two: failed', 'cluster what follows: skipped', 'a x: ok'])
  assert.equal(asked, ['one', 'two'])
  assert.equal([run.stands('cluster'), run.stands(a)], [false, true])
})

test('what hosts are asked for comes back by their names, trimmed, also from those that were not chosen', async () => {
  const { run, outcomes } = tell('plan', [a, b, dead], { chosen: [a] })
  const answers = await run.ask([a, b, dead], { what: 'name it has', shell: ({ name }) => `echo " ${name}-1 "`, bare: '' })
  assert.equal(answers, new Map([['a', 'a-1'], ['b', 'b-1']]))
  assert.equal(outcomes, ['dead answers over ssh: failed'])
  assert.equal(await run.ask([dead], { what: 'name it has', shell: () => 'echo it was asked', bare: '' }), new Map())
})

test('the hosts are there by their roles', () => {
  const server = hostOf('s', { role: 'server' })
  const { run } = tell('plan', [server, a, b], { chosen: [a] })
  assert.equal([run.servers, run.agents, run.hosts, run.chosen], [[server], [a, b], [server, a, b], [a]])
})

test('a validation looks at all that it can reach, whatever has failed', async () => {
  const { run, outcomes } = tell('validate', [a, dead])
  await run.on([a, dead], () => [bad])
  await run.once([{ name: 'is one', look: 'ls', check: async () => 'is two' }])
  await run.on([a, dead], () => [{ ...good, name: 'y' }])
  await run.once([{ name: 'is whole', look: 'ls', check: async () => '' }])
  assert.equal([run.stands(a), run.stands(dead), run.stands('cluster')], [true, false, true])
  assert.equal(outcomes.toSorted(), [
    'a x: failed', 'a y: ok', 'cluster is one: failed', 'cluster is whole: ok', 'dead answers over ssh: failed', 'dead what follows: skipped'
  ])
})

test('a host that an interruption finds at work is waited for', async () => {
  const interrupt = new AbortController()
  const { run } = tell('apply', [a, b], { signal: interrupt.signal })
  let ended = false
  const running = run.on([a, b], ({ name }) => [{
    name: 'x', look: 'ls',
    check: async () => {
      await sleep(name === 'a' ? 100 : 400)
      if (name === 'a') interrupt.abort()
      ended ||= name === 'b'
      return 'off'
    }
  }])
  assert.is(await running.then(() => '', (error: Error) => error.name), 'AbortError')
  assert.ok(ended)
})

test.run()
