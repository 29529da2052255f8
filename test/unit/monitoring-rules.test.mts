// The alerts, without promtool: each says what it must, has its runbook, its row in docs/alerts.md and its cases; and what holds
// back others names alerts that exist. promtool itself runs in test/lab/tests/12-rules.test.mts.
import { globSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { parse } from 'yaml'

type Rule = {
  alert: string
  expr: string
  for?: string
  keep_firing_for?: string
  labels: { severity: string; [name: string]: string }
  annotations: { summary: string; runbook: string; dashboard: string }
}
type Group = { name: string; rules: Rule[] }
type Expected = { exp_labels: object; exp_annotations: object }
type Case = { name: string; alert_rule_test: { alertname: string; exp_alerts: Expected[] }[] }
type Inhibition = { source_matchers: string[]; target_matchers: string[]; equal?: string[] }

const root = join(import.meta.dirname, '../..')
const read = (file: string): string => readFileSync(join(root, file), 'utf8')
const files = globSync('manifests/07_monitoring/rules/*.yaml', { cwd: root }).toSorted()
const subjects = files.map((file) => {
  const name = basename(file, '.yaml')
  const { groups } = parse(read(file)) as { groups: Group[] }
  const { tests } = parse(read(`test/rules/${name}.yaml`)) as { tests: Case[] }
  return { name, groups, rules: groups.flatMap(({ rules }) => rules), cases: tests }
})
const rules = subjects.flatMap((subject) => subject.rules)
const names = rules.map(({ alert }) => alert)

const dashboards = [
  'cluster', 'etcd', 'apiserver', 'nodes', 'workloads', 'ingress', 'postgres', 'redis', 'rabbitmq', 'minio', 'mariadb', 'apps', 'n8n',
  'vault', 'capacity', 'monitoring'
]

const inhibitions = parse(read('manifests/07_monitoring/alertmanager/inhibit.yaml')) as Inhibition[]
const named = (matchers: string[]): string[] =>
  matchers.flatMap((matcher) => /^alertname=~?"([\w|]+)"$/.exec(matcher)?.[1]?.split('|') ?? [])

const inSeconds: Record<string, number> = { s: 1, m: 60, h: 3600 }

/** Of each rule what is wrong with it, with its name. */
const wrong = (of: (rule: Rule) => string | false): string[] =>
  rules.flatMap((rule) => {
    const words = of(rule)
    return words === false ? [] : [`${rule.alert}: ${words}`]
  })

const seconds = (duration: string): number =>
  [...duration.matchAll(/(\d+)([smh])/g)].reduce((sum, [, count, unit = '']) => sum + Number(count) * inSeconds[unit]!, 0)

test('a file has one group of its name, and every rule is an alert of a name of its own', () => {
  assert.equal(subjects.map(({ groups }) => groups.map(({ name }) => name)), subjects.map(({ name }) => [name]))
  assert.equal(names.toSorted(), [...new Set(names)].toSorted())
  assert.equal(rules.filter(({ alert }) => !/^[A-Z]\w+$/.test(alert ?? '')), [])
})

test('every alert says how bad it is, after how long, in words, what to do and where to look', () => {
  const severities = (alert: string): string[] => (alert === 'Watchdog' ? ['none'] : ['page', 'ticket'])
  assert.equal(wrong(({ alert, labels }) => !severities(alert).includes(labels.severity) && labels.severity), [])
  assert.equal(wrong(({ alert, for: after }) => alert !== 'Watchdog' && after === undefined && 'no for'), [])
  assert.equal(wrong(({ annotations }) => !(annotations.summary?.length > 15) && 'no summary'), [])
  assert.equal(wrong(({ annotations, alert }) => annotations.runbook !== `docs/runbooks/${alert}.md` && annotations.runbook), [])
  assert.equal(wrong(({ annotations }) => !dashboards.includes(annotations.dashboard) && annotations.dashboard), [])
})

test('a page is there within two minutes: it waits 45 seconds at most', () => {
  assert.equal(wrong(({ labels, for: after = '' }) => labels.severity === 'page' && seconds(after) > 45 && after), [])
})

test('every query names the job that it asks: on K3s the same series are in several', () => {
  const exporters = 'kube|etcd|apiserver|node|nginx|probe|pg|redis|rabbitmq|minio|mysql|vault|k3s|n8n|prometheus|alertmanager|process'
  const selector = new RegExp(`\\b(?:up|(?:${exporters})_\\w+)\\{\\s*(\\w+)`, 'g')
  const first = (expr: string): string[] => [...expr.matchAll(selector)].map(([, label = '']) => label)
  assert.ok(rules.flatMap(({ expr }) => first(expr)).length > 150)
  assert.equal(wrong(({ expr }) => first(expr).some((label) => label !== 'job') && 'a selector without job'), [])
})

test('every runbook is of an alert, and has its parts in 10 to 35 lines', () => {
  assert.equal(globSync('docs/runbooks/*.md', { cwd: root }).map((file) => basename(file, '.md')).toSorted(), names.toSorted())
  assert.equal(wrong(({ alert, labels, for: after }) => {
    const lines = read(`docs/runbooks/${alert}.md`).split('\n')
    const kind = { page: 'A page', ticket: 'A ticket', none: 'Never a message to people' }[labels.severity]
    if (lines[0] !== `# ${alert}`) return 'its heading is another one'
    if (!lines[2]?.startsWith(`${kind}${after === undefined ? '' : `, after ${after}`}.`)) return `not "${kind}, after ${after}"`
    const parts = lines.filter((line) => line.startsWith('## ')).join()
    if (parts !== '## Look first,## Do,## Wake somebody') return parts
    return (lines.length < 10 || lines.length > 35) && `${lines.length} lines`
  }), [])
})

test('docs/alerts.md has a row for each, with its severity and time', () => {
  const row = /^\| \[(\w+)\]\(runbooks\/(\w+)\.md\) \| (\w+) \| (\w*) \| .{5,60} \|$/gm
  const rows = [...read('docs/alerts.md').matchAll(row)].map((found) => found.slice(1))
  const wanted = rules.map(({ alert, labels, for: after = '' }) => [alert, alert, labels.severity, after])
  assert.equal(rows.toSorted(), wanted.toSorted())
})

test('every alert has a case that fires, with its words, and one that does not', () => {
  const cases = subjects.flatMap((subject) => subject.cases)
  const lacks = (alert: string, kind: string, is: (expected: Expected[]) => boolean): string | false =>
    !cases.some(({ name, alert_rule_test: tests }) =>
      name.startsWith(`${alert} ${kind}: `) && tests.every(({ alertname }) => alertname === alert) && is(tests.at(-1)!.exp_alerts)) &&
    `no case that ${kind}`
  assert.equal(wrong(({ alert }) => lacks(alert, 'fires', (expected) => expected.length > 0)), [])
  assert.equal(wrong(({ alert }) => alert !== 'Watchdog' && lacks(alert, 'does not fire', (expected) => expected.length === 0)), [])
})

test('what holds others back names alerts that exist, and tells by a label whom, unless they are named', () => {
  const all = inhibitions.flatMap(({ source_matchers, target_matchers }) => named([...source_matchers, ...target_matchers]))
  assert.equal(all.filter((name) => !names.includes(name)), [])
  assert.equal(inhibitions.filter(({ source_matchers }) => named(source_matchers).length === 0), [])
  // A page that is held back without a label in common is named, or is of an application that is.
  const blind = inhibitions.filter(({ target_matchers, equal = [] }) =>
    equal.length === 0 && named(target_matchers).length === 0 &&
    !target_matchers.some((matcher) => /^(app=|severity="ticket")/.test(matcher)))
  assert.equal(blind, [])
})

test('what stays on for a while after its end is held back by what stays on for longer', () => {
  const kept = (name: string): number => seconds(rules.find(({ alert }) => alert === name)?.keep_firing_for ?? '')
  const outlasting = inhibitions.flatMap(({ source_matchers, target_matchers }) =>
    named(source_matchers).flatMap((source) => named(target_matchers)
      .filter((target) => kept(target) > 0 && kept(target) >= kept(source)).map((target) => `${target} outlasts ${source}`)))
  assert.equal(outlasting, [])
})

test('the rules are short of placeholders: they are taken literally', () => {
  assert.equal(files.filter((file) => /\$\{/.test(read(file))), [])
})

test.run()
