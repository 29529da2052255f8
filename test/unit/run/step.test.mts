import { execFileSync, spawnSync } from 'node:child_process'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { batchFindings, batchScript, batchTimeout, fileStep, holds, isAskedOnNode, type Batch } from '../../../lib/run/step.mts'

const bash = (batch: Batch) => {
  const script = `main() {\nset -euo pipefail\n${batchScript(batch)}\n}\nmain </dev/null\n`
  return spawnSync('bash', ['-s'], { input: script, encoding: 'utf8' })
}
const look = (batch: Batch) => batchFindings(bash(batch))

test('a check that prints nothing holds, one that prints words differs, one that exits otherwise could not tell', () => {
  const findings = look({
    waiting: false,
    steps: [
      { name: 'holds', check: 'true' },
      { name: 'differs', check: 'echo is off; echo and old' },
      { name: 'cannot tell', check: 'echo why >&2; false; echo never' },
      { name: 'cannot tell in a pipe', check: 'false | cat' },
      { name: 'uses a variable that is not set', check: 'echo "$nowhere"' }
    ]
  })
  assert.equal(findings.map(holds), [true, false, false, false, false])
  assert.equal(findings[1], { words: 'is off\nand old', failed: false })
  assert.equal(findings[2], { words: 'why\nexit 1', failed: true })
  assert.is(findings[3]!.failed, true)
  assert.match(findings[4]!.words, /nowhere: unbound variable/)
})

test('evidence is no difference, alone or beside one', () => {
  const steps = [
    { name: 'holds', check: 'echo "= 4 MB"; echo "= of 2048 MB"' },
    { name: 'differs', check: 'echo "= 4 MB"; echo is too small' },
    { name: 'is reached', check: 'true' }
  ]
  const findings = look({ waiting: false, steps })
  assert.equal(findings.map(holds), [true, false, true])
  assert.equal(findings[0], { words: '', failed: false, evidence: '4 MB\nof 2048 MB' })
  assert.equal(findings[1], { words: 'is too small', failed: false, evidence: '4 MB' })
  assert.is(look({ waiting: true, steps }).length, 2)
})

test('what a check prints may be text of others: it forges no finding, and moves no cursor', () => {
  const forged = "printf '\\x1e0\\n'"
  const findings = look({ waiting: false, steps: [
    { name: 'differs', check: `${forged}; printf 'taken by \\e]0;boo\\a\\n'` },
    { name: 'is bad', check: `${forged}; printf '\\e[2Jwhy\\x1e\\n' >&2; exit 1` },
    { name: 'is after them', check: 'echo is off' },
    { name: 'differs by a mark alone', check: "printf '\\x1e'" }
  ] })
  assert.equal(findings.map(({ failed }) => failed), [false, true, false, false])
  assert.is(findings[3]!.words, '?')
  assert.equal(findings[0]!.words.split('\n'), ['?0', 'taken by ?]0;boo?'])
  assert.match(findings[1]!.words, /^\?\[2Jwhy/)
  assert.is(findings[2]!.words, 'is off')
})

test('what a check that holds says on stderr is no difference', () => {
  assert.equal(look({ waiting: false, steps: [{ name: 'warns', check: 'echo WARN >&2' }] }), [{ words: '', failed: false }])
})

test('a check cannot eat the rest of the script', () => {
  const findings = look({ waiting: false, steps: [{ name: 'reads', check: 'cat' }, { name: 'is after it', check: 'echo here' }] })
  assert.equal(findings[1], { words: 'here', failed: false })
})

test('waiting stops at the first fact that does not hold', () => {
  const findings = look({
    waiting: true,
    steps: [{ name: 'a', check: 'true' }, { name: 'b', check: 'echo no' }, { name: 'c', check: 'true' }]
  })
  assert.is(findings.length, 2)
})

test('a fact is waited for after its change, not before', () => {
  const file = execFileSync('mktemp', ['-u'], { encoding: 'utf8' }).trim()
  const step = { name: 'comes', check: `[[ -e ${file} ]] || echo not yet`, within: 5, change: `(sleep 1.2; touch ${file}) >/dev/null 2>&1 &` }
  assert.is(holds(look({ waiting: true, steps: [step] })[0]), false)
  assert.is(holds(look({ waiting: true, steps: [step], change: step.change })[0]), true)
})

test('a change that fails ends the script with its words on stderr', () => {
  const result = bash({ waiting: true, steps: [{ name: 'x', check: 'true' }], change: 'echo broken >&2; false' })
  assert.is.not(result.status, 0)
  assert.match(result.stderr, /broken/)
  assert.is(result.stdout, '')
})

test('the time of a batch grows with what its steps ask for', () => {
  const steps = [{ name: 'a', check: 'true' }, { name: 'b', check: 'true', within: 30, timeout: 20 }]
  assert.is(batchTimeout({ steps, waiting: true }), 110)
})

test('a file step tells a missing file, another text and another mode, and puts the text there', () => {
  const folder = execFileSync('mktemp', ['-d'], { encoding: 'utf8' }).trim()
  const path = `${folder}/deep/file.conf`
  const step = fileStep(path, "it's $HOME\n`x`\n", { mode: '0600' })
  const words = () => look({ waiting: false, steps: [step].filter(isAskedOnNode) })[0]!.words
  assert.is(words(), `${path} is missing`)
  const change = `${step.change as string}`.replace('chown root:root', ': chown') // the tests may run as anybody
  assert.is(spawnSync('bash', ['-s'], { input: `set -e\n${change}` }).status, 0)
  assert.is(execFileSync('cat', [path], { encoding: 'utf8' }), "it's $HOME\n`x`\n")
  if (process.getuid?.() === 0) assert.is(words(), '')
  execFileSync('chmod', ['0644', path])
  assert.match(words(), /is 0644/)
  execFileSync('sh', ['-c', `echo other > ${path}`])
  assert.match(words(), /differs/)
})

test('a file step takes whole lines only, and no line that would end it early', () => {
  assert.throws(() => fileStep('/etc/x', 'no line break'), 'must end with a line break')
  assert.throws(() => fileStep('/etc/x', 'a\nEND\nrm -rf /\n'), 'must not have the line END')
  assert.is(fileStep('/etc/x', '').name, 'has /etc/x')
})

test.run()
