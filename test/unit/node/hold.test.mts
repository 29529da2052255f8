import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Host } from '../../../lib/input/inventory.mts'
import type { HeldState } from '../../../lib/node/hold.mts'
import { eventually } from '../../support/eventually.mts'
import { useFakeSsh } from '../../support/fake-ssh.mts'

const folder = useFakeSsh()
const { createSsh } = await import('../../../lib/reach/ssh.mts')
const { whileHeld } = await import('../../../lib/node/hold.mts')

const ssh = createSsh()

const host: Host = {
  name: 'a', address: '192.0.2.1', publicAddress: '', user: 'root', fqdn: '', role: 'agent', stack: 'k3s-node', pool: 'general', line: 2
}
let files = 0
const newFault = () => {
  const file = join(folder, `fault-${files++}`)
  return { file, fault: { begin: `touch ${file}`, mend: `rm -f ${file}` } }
}
const signal = new AbortController().signal

const failure = async (promise: Promise<unknown>): Promise<Error> => {
  try {
    await promise
  } catch (error) {
    return error as Error
  }
  throw new Error('it did not fail')
}

test('the node is in the state while it is used, and mended when that returns', async () => {
  const { file, fault } = newFault()
  const value = await whileHeld(ssh, host, fault, { seconds: 300, signal }, async () => {
    await eventually('the state has begun', () => existsSync(file))
    return 'seen'
  })
  assert.is(value, 'seen')
  assert.not(existsSync(file))
})

test('it is mended where the use fails, and that is told', async () => {
  const { file, fault } = newFault()
  const error = await failure(whileHeld(ssh, host, fault, { seconds: 300, signal }, async () => {
    await eventually('the state has begun', () => existsSync(file))
    throw new Error('no answer')
  }))
  assert.is(error.message, 'no answer')
  assert.not(existsSync(file))
})

test('it is mended where the run is interrupted', async () => {
  const { file, fault } = newFault()
  const interrupt = new AbortController()
  const held = whileHeld(ssh, host, fault, { seconds: 300, signal: interrupt.signal }, () => new Promise(() => {}))
  await eventually('the state has begun', () => existsSync(file))
  interrupt.abort()
  assert.is((await failure(held)).name, 'AbortError')
  assert.not(existsSync(file))
})

test('a state that cannot begin, and one that lasts too long', async () => {
  const never = () => new Promise(() => {})
  const { fault } = newFault()
  const odd = await failure(whileHeld(ssh, host, { ...fault, begin: 'echo nothing listens >&2; false' }, { seconds: 300, signal }, never))
  assert.is(odd.message, 'nothing listens\nexit 1')
  const long = newFault()
  assert.is((await failure(whileHeld(ssh, host, long.fault, { seconds: 1, signal }, never))).message, 'it was mended after 1 s\nexit 1')
  assert.not(existsSync(long.file))
})

/** A bastion that holds the node in a state, killed as soon as `file` shows that the state has begun. */
const killedBastion = async (file: string, fault: HeldState): Promise<void> => {
  const script = join(folder, 'bastion.mts')
  const lib = join(import.meta.dirname, '../../../lib')
  writeFileSync(script, `import { whileHeld } from '${lib}/node/hold.mts'
import { createSsh } from '${lib}/reach/ssh.mts'
await whileHeld(createSsh(), ${JSON.stringify(host)}, ${JSON.stringify(fault)}, { seconds: 300, signal: new AbortController().signal }, () => new Promise(() => {}))
`)
  const bastion = spawn(process.execPath, [script], { stdio: 'ignore' })
  await eventually('the state has begun', () => existsSync(file))
  bastion.kill('SIGKILL')
  await once(bastion, 'exit')
}

test('the node mends itself where the bastion is killed', async () => {
  const { file, fault } = newFault()
  await killedBastion(file, fault)
  await eventually('the node is mended', () => !existsSync(file))
})

test('neither a second signal nor a bastion that hears nothing any more cuts the mending short', async () => {
  const { file } = newFault()
  const mending = `${file}-mending`
  await killedBastion(file, { begin: `echo $$ > ${file}.part; mv ${file}.part ${file}`, mend: `touch ${mending}; echo mending >&2; sleep 0.5; rm -f ${file}` })
  const shell = Number(readFileSync(file, 'utf8'))
  await eventually('it mends', () => existsSync(mending))
  process.kill(shell, 'SIGTERM')
  await eventually('the node is mended', () => !existsSync(file))
})

test.run()
