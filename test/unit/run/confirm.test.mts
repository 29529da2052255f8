import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { UsageError } from '../../../lib/base/errors.mts'
import { hasTerminal, needTerminal } from '../../../lib/run/confirm.mts'

// The tests may run at a terminal or not.
const whileTerminals = (stdin: boolean, stderr: boolean, act: () => void): void => {
  const streams = [[process.stdin, stdin], [process.stderr, stderr]] as const
  const before = streams.map(([stream]) => stream.isTTY)
  const set = (index: number, isTTY: boolean): void =>
    void Object.defineProperty(streams[index]![0], 'isTTY', { value: isTTY, configurable: true, writable: true })
  streams.forEach(([, isTTY], index) => set(index, isTTY))
  try {
    act()
  } finally {
    before.forEach((isTTY, index) => set(index, isTTY))
  }
}

test('somebody can be asked where both the question and the answer are at a terminal', () => {
  whileTerminals(true, true, () => assert.ok(hasTerminal()))
  whileTerminals(true, false, () => assert.not(hasTerminal()))
  whileTerminals(false, true, () => assert.not(hasTerminal()))
})

test('without a terminal a flag that must be confirmed is refused by its name', () => {
  whileTerminals(true, true, () => needTerminal('--drill'))
  whileTerminals(false, true, () => assert.throws(() => needTerminal('--drill'), (error: Error) =>
    error instanceof UsageError
      && error.message === 'command line --drill: expected a terminal, for it must be confirmed. Run it at a terminal.'))
})

const answering = async (call: string, ...answers: string[]): Promise<{ stdout: string; stderr: string }> => {
  const program = `const { agreed, typed } = await import('${join(import.meta.dirname, '../../../lib/run/confirm.mts')}')
console.log('answer', await ${call})`
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], { stdio: 'pipe' })
  const said = { stdout: '', stderr: '' }
  child.stdout.on('data', (data: Buffer) => (said.stdout += data.toString()))
  child.stderr.on('data', (data: Buffer) => {
    said.stderr += data.toString()
    // One answer for each time that it asks, or asks again.
    if (/(go on:|\(y\/N\)|Type drill, or press ctrl-C\.)/.test(data.toString()) && answers.length > 0) child.stdin.write(answers.shift()!)
  })
  await once(child, 'close')
  return said
}

test('only the word itself goes on', async () => {
  const { stdout, stderr } = await answering(`typed('drill', 'Servers are taken away.')`, 'yes\r', '\u0015drill\r')
  assert.match(stderr, /Servers are taken away\. Type "drill" to go on:/)
  assert.match(stderr, /Type drill, or press ctrl-C\./)
  assert.is(stdout, 'answer undefined\n')
})

test('the answer to a question is no, unless it is yes', async () => {
  assert.is((await answering(`agreed('Apply 1 change to 1 host?')`, '\r')).stdout, 'answer false\n')
  assert.is((await answering(`agreed('Apply 1 change to 1 host?')`, 'y\r')).stdout, 'answer true\n')
})

test.run()
