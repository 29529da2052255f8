import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Outcome } from '../../../lib/run/modes.mts'
import { renderHtml, type Result, type Table } from '../../../lib/validation/html.mts'
import type { Section } from '../../../lib/run/report.mts'
import { Secret } from '../../../lib/input/secrets.mts'

const section = (id: string, title: string, hosts: Record<string, Outcome[]>): Section =>
  ({ id, title, mode: 'validate', seconds: 4.2, hosts: new Map(Object.entries(hosts)) })

const ok = (step: string, evidence?: string): Outcome => ({ step, result: 'ok', ...(evidence === undefined ? {} : { evidence }) })
const fails = (step: string, words: string, hint?: string): Outcome =>
  ({ step, result: 'failed', words, ...(hint === undefined ? {} : { hint }) })

const page = (sections: Section[], more: Partial<Result> = {}): string =>
  renderHtml({
    title: 'Final validation', environment: 'prod', date: new Date('2026-11-27T14:03:21Z'), seconds: 62.4, versions: {},
    exitCode: sections.some(({ hosts }) => [...hosts.values()].flat().some(({ result }) => result === 'failed')) ? 1 : 0,
    sections, ...more
  })

const green = [
  section('09_k3s_01', 'Prepare the nodes', {
    'k3s-worker-01': [ok('is called k3s-worker-01'), ok('has 10.0.0.110 on a NIC'), ok('has swap off')],
    'k3s-worker-02': [ok('is called k3s-worker-02'), ok('has 10.0.0.111 on a NIC'), ok('has swap off')],
    'k3s-worker-03': [ok('is called k3s-worker-03'), ok('has 10.0.0.112 on a NIC'), ok('has a disk of its own', '1 TB')]
  }),
  section('09_k3s_09', 'Final validation', { cluster: [ok('has one leader', 'k3s-master-02 leads\n3 voters')] })
]

const bothFail = [
  section('09_k3s_03', 'Join the workers', {
    alpha: [ok('is Ready'), fails('has a pod network to every node', 'no answer from the pod on gamma', 'is 8472/udp open?')],
    beta: [ok('is Ready'), fails('has a pod network to every node', 'no answer from the pod on gamma', 'is 8472/udp open?')],
    gamma: [fails('has a pod network to every node', 'its netcheck pod is not ready', 'is 8472/udp open?'), ok('is Ready')]
  }),
  section('09_k3s_09', 'Final validation', { cluster: [fails('has one leader', 'has none')], alpha: [ok('answers')] })
]

const hasLine = (text: string, line: string): void => assert.ok(text.split('\n').includes(line), `no line\n${line}`)
const text = (markup: string): string => markup.replaceAll(/<style>.*?<\/style>/gs, '').replaceAll(/<[^>]*>/g, ' ')

test('all hold: the verdict says so, first', () => {
  const markup = page(green)
  hasLine(markup, '<h1><span class="sign good" aria-hidden="true">✓</span> The cluster is fit: all 10 checks hold</h1>')
  hasLine(markup, '<title>✓ The cluster is fit: all 10 checks hold · prod · 2026-11-27 14:03 UTC</title>')
  hasLine(markup, '<p>3 hosts looked at on <time datetime="2026-11-27T14:03:21.000Z">27 November 2026, 14:03 UTC</time>, in 1 min 2 s.</p>')
  assert.not.match(markup, /What does not hold/)
})

test('failures are counted, and hosts apart from the cluster', () => {
  hasLine(page(bothFail), '<h1><span class="sign bad" aria-hidden="true">✗</span> 4 of 8 checks fail on 3 hosts and for the cluster as a whole</h1>')
  hasLine(
    page([section('09_k3s_09', 'Final validation', { a: [fails('x', 'y'), ok('z')] })]),
    '<h1><span class="sign bad" aria-hidden="true">✗</span> 1 of 2 checks fails on 1 host</h1>'
  )
})

test('what was not seen to hold is never called fit', () => {
  assert.match(text(page([])), /\? {2}Nothing was checked/)
  assert.match(text(page(green, { exitCode: 130 })), /\? {2}It did not come to its end: 10 checks hold so far/)
  assert.match(text(page(green, { exitCode: 1, failed: 'the failover drill' })), /✗ {2}All 10 checks hold, but the failover drill failed/)
  assert.match(text(page([section('x', 'X', { a: [ok('y'), { step: 'z', result: 'unknown' }] })])), /\? {2}1 of 2 checks does not hold yet/)
})

test('a tile for each script leads to its facts', () => {
  const markup = page(bothFail)
  hasLine(markup, '<li><a href="#facts-09_k3s_03" class="bad-tile"><small>09_k3s_03</small><strong>Join the workers</strong>' +
    '<em><span class="bad"><span class="sign" aria-hidden="true">✗</span> 3 of 6 fail</span></em></a></li>')
  assert.match(markup, /<div class="facts[^"]*" id="facts-09_k3s_03">/)
})

test('what fails comes before what holds, once for all its hosts, with what to do', () => {
  const markup = page(bothFail)
  const at = markup.indexOf('What does not hold')
  assert.ok(at > 0 && at < markup.indexOf('is Ready'))
  hasLine(markup, '<h3><span class="sign bad" aria-hidden="true">✗</span> has a pod network to every node</h3>')
  hasLine(markup, '<p class="from">fails · 09_k3s_03 Join the workers</p>')
  assert.is(markup.match(/What to do:/g)?.length, 1)
  const words = text(markup).replaceAll(/\s+/g, ' ')
  assert.match(words, /alpha , beta no answer from the pod on gamma gamma its netcheck pod is not ready What to do: is 8472\/udp open\?/)
})

test('in the table of a script, too, failures come first', () => {
  const markup = page(bothFail)
  const table = markup.slice(markup.indexOf('id="facts-09_k3s_03"'))
  assert.ok(table.indexOf('has a pod network') < table.indexOf('is Ready'))
})

test('a fact of many hosts is one row, with what differs between them', () => {
  const markup = page(green)
  const rows = (name: string): string[] =>
    markup.split('\n').filter((line) => line.startsWith('<tr>') && line.includes(name)).map((line) => text(line).replaceAll(/\s+/g, ' ').trim())
  assert.equal(rows('is called'), ['✓ is called its own name holds all 3 hosts'])
  assert.equal(rows('has swap off'), ['✓ has swap off holds k3s-worker-01 , 02'])
  assert.equal(rows('has a disk'), ['✓ has a disk of its own holds k3s-worker-03 1 TB'])
  assert.match(rows('on a NIC')[0]!, /^✓ has … on a NIC holds all 3 hosts k3s-worker-01 10\.0\.0\.110$/)
  assert.match(text(markup), /k3s-worker-03\s+10\.0\.0\.112/)
})

test('facts about several addresses on one host stay apart', () => {
  const markup = page([section('x', 'X', { cluster: [ok('answers through 10.0.0.5'), ok('answers through 10.0.0.6')] })])
  assert.match(markup, /answers through 10\.0\.0\.5/)
  assert.match(markup, /answers through 10\.0\.0\.6/)
})

test('a row of the table of hosts', () => {
  const sign = (tone: string, mark: string, words: string): string =>
    `<td class="number"><span class="${tone}"><span class="sign" aria-hidden="true">${mark}</span> ${words}</span></td>`
  hasLine(page(bothFail), '<tr><th scope="row"><span class="name">the cluster</span></th>' +
    `<td class="number"><span class="none">–</span></td>${sign('bad', '✗', '1 of 1 fails')}</tr>`)
})

const measured: Table = {
  heading: 'Failover drill', intro: 'One thing after the other was taken away.', columns: ['Taken away', 'API away', 'Pods moved after'],
  rows: [[
    { text: 'worker dies', name: 'k3s-worker-01', small: 'cut off from all others' },
    { text: '1.4 s', small: '3 of 860 failed' }, { text: '–' }
  ]]
}

test('what was measured is a table', () => {
  const markup = page(green, { tables: [measured, { ...measured, heading: 'Nothing', rows: [] }] })
  hasLine(markup, '<h2 id="table-1">Failover drill</h2>')
  hasLine(markup, '<p class="soft">One thing after the other was taken away.</p>')
  hasLine(markup, '<thead><tr><th scope="col">Taken away</th><th scope="col" class="number">API away</th><th scope="col" class="number">Pods moved after</th></tr></thead>')
  hasLine(markup, '<tr><th scope="row">worker dies<small><span class="name">k3s-worker-01</span>: cut off from all others</small></th>' +
    '<td class="number">1.4 s<small>3 of 860 failed</small></td><td class="number">–</td></tr>')
  assert.not.match(markup, /Nothing/)
  assert.not.match(page(green), /id="table/)
})

const hostile = `"'><script>alert(1)</script><img src=http://evil.example/x onerror=alert(1)>&amp;\u001b[31mred\u001b[0m\u202e\u0000`

test('hostile text stays text, wherever it comes from', () => {
  const markup = page(
    [section(hostile, hostile, {
      [hostile]: [ok(hostile, hostile), fails(`2 ${hostile}`, hostile, hostile)],
      b: [ok(hostile, 'x'), fails(`2 ${hostile}`, `y${hostile}`, 'z')], c: [ok(hostile, 'z')], d: [ok(hostile)]
    }), ...green],
    { title: hostile, environment: hostile, versions: { [hostile]: hostile }, tables: [{
      heading: hostile, intro: hostile, columns: [hostile, hostile],
      rows: [[{ text: hostile, name: hostile, small: hostile }, { text: hostile, small: hostile }]]
    }] }
  )
  const safe = '&quot;&#39;&gt;&lt;script&gt;alert(1)&lt;/script&gt;&lt;img src=http://evil.example/x onerror=alert(1)&gt;&amp;amp;red'
  assert.ok(markup.split(safe).length > 20)
  // With every safe form taken out nothing of it is left, in no attribute either.
  assert.not.match(markup.replaceAll(safe, ''), /alert|onerror|evil|\u001b|\u202e|\u0000/)
})

test('the page asks for nothing, and runs nothing', () => {
  const markup = page(bothFail)
  assert.not.match(markup, /<script|<iframe|<object|<embed|<img|<form|@import|url\(| on\w+=/i)
  assert.not.match(markup, /https?:/)
  assert.equal([...markup.matchAll(/(?:src|href)="([^"#]*)/g)].map(([, address]) => address).filter(Boolean), ['data:,'])
  assert.match(markup, /default-src 'none'/)
})

test('a secret is struck out before its signs are escaped', () => {
  new Secret('a<b>&"secret"')
  const markup = page([section('x', 'X', { a: [fails('has the token', 'it is a<b>&"secret"!')] })])
  assert.match(markup, /it is \[secret\]!/)
  assert.not.match(markup, /&quot;secret|a&lt;b/)
})

test('every element that is opened is closed', () => {
  const markup = page([...bothFail, ...green]).replaceAll(/<style>.*?<\/style>/gs, '')
  const open: string[] = []
  for (const [, end, name = ''] of markup.matchAll(/<(\/?)([a-z]\w*)/g)) {
    if (['meta', 'link', 'col'].includes(name)) continue
    if (end === '/') assert.is(open.pop(), name)
    else open.push(name)
  }
  assert.equal(open, [])
})

test.run()
