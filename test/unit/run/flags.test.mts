import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { UsageError } from '../../../lib/base/errors.mts'
import { flag, flagLines, misuse, output, parseFlags, value } from '../../../lib/run/flags.mts'

const flags = {
  plan: flag('say what would change'),
  yes: flag('apply without asking', 'y'),
  hosts: value('A,B', 'only these hosts'),
  runbook: value('FILE', 'how all this is done by hand')
}
const nothing = { plan: false, yes: false, hosts: undefined, runbook: undefined }

const faultsOf = (...argv: string[]): string[] => {
  try {
    return [`no fault, but ${JSON.stringify(parseFlags(argv, flags))}`]
  } catch (error) {
    if (error instanceof UsageError) return error.message.split('\n')
    throw error
  }
}

test('flags and values are read, in any order', () => {
  assert.equal(parseFlags([], flags), nothing)
  assert.equal(parseFlags(['--hosts', 'a,b', '--plan'], flags), { ...nothing, plan: true, hosts: 'a,b' })
  assert.equal(parseFlags(['--yes', '--hosts=a'], flags), { ...nothing, yes: true, hosts: 'a' })
})

test('a flag may have a short form', () => {
  assert.equal(parseFlags(['-y'], flags), { ...nothing, yes: true })
  assert.equal(faultsOf('-p'), ['command line -p: expected a flag that this script has. Run with --help.'])
})

test('a dash alone is a value: stdout', () => {
  assert.equal(parseFlags(['--runbook', '-'], flags), { ...nothing, runbook: '-' })
})

test('an unknown flag is a fault, and the one that was probably meant is named', () => {
  assert.equal(faultsOf('--plann'), ['command line --plann: expected a flag that this script has. Did you mean --plan?'])
  assert.equal(faultsOf('--no-plan'), ['command line --no-plan: expected a flag that this script has. Did you mean --plan?'])
  assert.equal(faultsOf('--everything'), ['command line --everything: expected a flag that this script has. Run with --help.'])
})

test('an unknown flag with a value is one fault', () => {
  assert.equal(faultsOf('--host=a,b'), ['command line --host: expected a flag that this script has. Did you mean --hosts?'])
})

test('what every JavaScript object has is an unknown flag', () => {
  for (const name of ['--constructor', '--toString', '--__proto__']) {
    assert.equal(faultsOf(name), [`command line ${name}: expected a flag that this script has. Run with --help.`])
  }
})

test('a flag that is there twice is a fault, in whichever form', () => {
  assert.equal(faultsOf('--plan', '--plan'), ['command line --plan: expected it once. Take the others out.'])
  assert.equal(faultsOf('-y', '--yes'), ['command line --yes: expected it once. Take the others out.'])
  assert.equal(faultsOf('--hosts', 'a', '--hosts', 'b'), ['command line --hosts: expected it once. Take the others out.'])
})

test('a value that is missing or empty is a fault', () => {
  for (const argv of [['--hosts'], ['--hosts='], ['--hosts', '']]) {
    assert.equal(faultsOf(...argv), ['command line --hosts: expected a value. Give it one: --hosts VALUE.'])
  }
})

test('the next flag is no value: --hosts --plan must not apply', () => {
  for (const next of ['--plan', '-y', '--']) {
    assert.equal(faultsOf('--hosts', next), ['command line --hosts: expected a value. Give it one: --hosts VALUE.'])
  }
  assert.equal(parseFlags(['--hosts=-y'], flags), { ...nothing, hosts: '-y' })
})

test('a value where none belongs is a fault', () => {
  assert.equal(faultsOf('--plan=no'), ['command line --plan: expected no value. Write --plan alone.'])
})

test('what is no flag is a fault, also behind --', () => {
  assert.equal(faultsOf('plan'), ['command line plan: expected no arguments, only flags. Run with --help.'])
  assert.equal(faultsOf('--', '--plan'), ['command line --plan: expected no arguments, only flags. Run with --help.'])
})

test('all faults are told at once', () => {
  assert.equal(faultsOf('now', '--plann', '--plan=1', '--yes', '--yes', '--runbook').map((line) => line.split(':')[0]), [
    'command line now', 'command line --plann', 'command line --plan', 'command line --runbook', 'command line --yes'
  ])
})

test('a flag that names a file to write says so', () => {
  assert.equal(output('the report'), { help: 'the report', value: 'FILE', writes: true })
})

test('the lines of --help', () => {
  assert.equal(flagLines(flags), [
    '--plan          say what would change',
    '--yes           apply without asking',
    '--hosts A,B     only these hosts',
    '--runbook FILE  how all this is done by hand'
  ])
})

test('what is misused is told with what was found, where it is known', () => {
  const [expected, remedy] = ['one of a, b', 'Correct it.']
  assert.is(new UsageError([misuse('--hosts', expected, remedy, 'c')]).message, 'command line --hosts "c": expected one of a, b. Correct it.')
  assert.is(new UsageError([misuse('--hosts', expected, remedy)]).message, 'command line --hosts: expected one of a, b. Correct it.')
})

test.run()
