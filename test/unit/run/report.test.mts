import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Outcome } from '../../../lib/run/modes.mts'
import { count, renderBlock, renderCounts, renderTable, renderTitle, type Section } from '../../../lib/run/report.mts'

const plain = { colour: false, verbose: false }
const verbose = { colour: false, verbose: true }
const coloured = { colour: true, verbose: false }

const outcomes: Outcome[] = [
  { step: 'has the token', result: 'ok' },
  { step: 'has k3s v1.36.5+k3s1', result: 'pending', words: 'is "v1.36.3+k3s1"' },
  { step: 'is Ready', result: 'unknown', words: 'known once applied' }
]
const failed: Outcome[] = [{
  step: 'answers over ssh', result: 'failed',
  words: 'unreachable: ssh root@10.0.0.111 exit 255\nConnection timed out.', hint: 'ssh -v root@10.0.0.111'
}]
const section = (mode: 'plan' | 'apply'): Section => ({
  id: '09_k3s_03', title: 'Join the workers', mode, seconds: 4.2,
  hosts: new Map([['k3s-worker-01', outcomes], ['k3s-worker-02', failed]])
})

test('the title names the script on the left and what is about to happen on the right', () => {
  assert.is(
    renderTitle({ id: '09_k3s_03', title: 'Join the workers' }, 'plan · 5 hosts', plain),
    '09_k3s_03  Join the workers                                       plan · 5 hosts'
  )
})

test('a block names the host once, aligns what differs, and counts what holds', () => {
  assert.equal(renderBlock('k3s-worker-01', outcomes, plain), [
    'k3s-worker-01   ~ has k3s v1.36.5+k3s1  is "v1.36.3+k3s1"',
    '                ? is Ready              known once applied',
    '                ✓ 1 more holds'
  ])
})

test('--verbose shows every fact that holds', () => {
  assert.equal(renderBlock('k3s-worker-01', outcomes, verbose), [
    'k3s-worker-01   ✓ has the token',
    '                ~ has k3s v1.36.5+k3s1  is "v1.36.3+k3s1"',
    '                ? is Ready              known once applied'
  ])
})

test('a failure shows all its words and the hint', () => {
  assert.equal(renderBlock('k3s-worker-02', failed, plain), [
    'k3s-worker-02   ✗ answers over ssh  unreachable: ssh root@10.0.0.111 exit 255',
    '                  Connection timed out.',
    '                  Hint: ssh -v root@10.0.0.111'
  ])
})

test('a name of 16 characters and more does not touch the sign', () => {
  assert.equal(renderBlock('k3s-worker-observability-01', outcomes.slice(1), plain), [
    'k3s-worker-observability-01  ~ has k3s v1.36.5+k3s1  is "v1.36.3+k3s1"',
    '                             ? is Ready              known once applied'
  ])
  assert.is(renderBlock('k3s-worker-heavy', outcomes.slice(2), plain)[0], 'k3s-worker-heavy  ? is Ready  known once applied')
})

test('colour marks the sign and dims the words, and changes nothing else', () => {
  assert.equal(renderBlock('k3s-worker-01', outcomes, coloured), [
    'k3s-worker-01   \u001b[33m~\u001b[39m has k3s v1.36.5+k3s1  \u001b[2mis "v1.36.3+k3s1"\u001b[22m',
    '                \u001b[36m?\u001b[39m is Ready              \u001b[2mknown once applied\u001b[22m',
    '                \u001b[2m✓ 1 more holds\u001b[22m'
  ])
})

test('the table has a row a host', () => {
  assert.equal(renderTable(section('plan'), plain), [
    'HOST              OK  CHANGE  UNKNOWN  FAILED',
    'k3s-worker-01      1       1        1       0',
    'k3s-worker-02      0       0        0       1'
  ])
  assert.is(renderTable(section('apply'), plain)[0], 'HOST              OK  CHANGED  UNKNOWN  FAILED')
})

test('the counts in words', () => {
  assert.is(renderCounts([section('plan')]), '1 change, 1 unknown, 1 host failed')
  assert.is(renderCounts([{ ...section('plan'), hosts: new Map() }]), '0 changes')
  assert.equal(count(outcomes), { ok: 1, change: 1, unknown: 1, failed: 0, skipped: 0 })
})

const skipped = (words: string): Outcome => ({ step: 'has the room', result: 'skipped', words })
const away = 'because the API does not answer'

test('what was skipped is told together, with the reason, and counted', () => {
  assert.equal(renderBlock('cluster', [...outcomes, skipped(away), skipped(away), skipped('because a failed')], plain).slice(-3), [
    '                – 2 skipped, because the API does not answer',
    '                – 1 skipped, because a failed',
    '                ✓ 1 more holds'
  ])
  const hosts = new Map([['a', [...outcomes, skipped(away)]], ['b', failed]])
  assert.equal(renderTable({ ...section('plan'), hosts }, plain), [
    'HOST              OK  CHANGE  UNKNOWN  FAILED  SKIPPED',
    'a                  1       1        1       0        1',
    'b                  0       0        0       1        0'
  ])
  assert.is(renderCounts([{ ...section('plan'), hosts }]), '1 change, 1 unknown, 1 host failed, 1 skipped')
  assert.is(renderCounts([{ ...section('plan'), mode: 'validate', hosts }]), '1 check holds, 1 fails, 1 skipped')
})

test.run()
