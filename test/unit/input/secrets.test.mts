import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspect, promisify } from 'node:util'
import { test } from 'uvu'
import * as assert from 'uvu/assert'

const home = mkdtempSync(join(tmpdir(), 'keybuzz-secrets-'))
process.env['HOME'] = home
const { givenSecret, keepSecret, keptSecret, newSecret, redact, Secret } = await import('../../../lib/input/secrets.mts')
const { hasToken } = await import('../../../lib/node/k3s.mts')

test('a secret prints as [secret] whichever way it is printed', () => {
  const secret = new Secret('sesame-1234')
  assert.is(`${secret}`, '[secret]')
  assert.is(JSON.stringify({ secret }), '{"secret":"[secret]"}')
  assert.is(inspect({ secret }), '{ secret: [secret] }')
  assert.is(secret.reveal(), 'sesame-1234')
})

test('an empty secret is refused: it would strike out everything', async () => {
  assert.throws(() => new Secret(''), /a secret is empty/)
  assert.is(redact('all of it'), 'all of it')
  mkdirSync(join(home, '.keybuzz/secrets'), { recursive: true, mode: 0o700 })
  writeFileSync(join(home, '.keybuzz/secrets/emptied'), '\n')
  await keptSecret('emptied').then(() => assert.unreachable(), ({ message }: Error) =>
    assert.match(message, /secrets\/emptied is empty: expected a secret\. Bring it back from a backup\./))
})

test('a secret is struck out of every text, in base64 too', () => {
  new Secret('open-sesame')
  const encoded = Buffer.from('open-sesame').toString('base64')
  assert.is(redact(`token open-sesame, encoded ${encoded}`), 'token [secret], encoded [secret]')
})

test('what the words of a token step say never holds the token', () => {
  for (const form of ['secure', 'secret'] as const) {
    const { name, check, hint } = hasToken('token', new Secret('K10abc::server:very-hidden'), form)
    assert.not.match(`${name} ${hint ?? ''}`, /hidden/)
    assert.match(check as string, /wanted='K10abc::server:very-hidden'/)
    assert.not.match((check as string).replaceAll(/wanted='[^']*'/g, ''), /hidden/)
  }
})

test('a secret that is only named is shown by its name, and strikes nothing out', () => {
  const named = Secret.named('<SOME_TOKEN>')
  assert.is(named.reveal(), '<SOME_TOKEN>')
  assert.is(`${named}`, '[secret]')
  assert.is(redact('token <SOME_TOKEN>'), 'token <SOME_TOKEN>')
})

test('a kept secret is the same the next time, and nobody else can read it', async () => {
  assert.is(await keptSecret('token'), undefined)
  const secret = newSecret()
  assert.match(secret.reveal(), /^[0-9a-f]{64}$/)
  await keepSecret('token', secret)
  assert.is((await keptSecret('token'))!.reveal(), secret.reveal())
  assert.is(statSync(join(home, '.keybuzz/secrets/token')).mode & 0o777, 0o600)
  assert.is(statSync(join(home, '.keybuzz/secrets')).mode & 0o777, 0o700)
  assert.is(readFileSync(join(home, '.keybuzz/secrets/token'), 'utf8'), `${secret.reveal()}\n`)
})

test('a secret that is kept twice at once is kept', async () => {
  const secret = newSecret()
  await Promise.all([1, 2, 3, 4].map(() => keepSecret('twice', secret)))
  assert.is((await keptSecret('twice'))!.reveal(), secret.reveal())
})

test('a secret is typed without being shown, whatever key is pressed', async () => {
  const program = `const { typedSecret } = await import(${JSON.stringify(join(import.meta.dirname, '../../../lib/input/secrets.mts'))})
console.log('length', (await typedSecret('password')).reveal().length)
process.exit()`
  const child = spawn(process.execPath, ['--input-type=module', '-e', program])
  const said = { stdout: '', stderr: '' }
  const keys = ['hidden', '\u0014', 'den', '\r'] // the second is ctrl-T
  child.stdout.on('data', (data: Buffer) => (said.stdout += data.toString()))
  child.stderr.on('data', (data: Buffer) => (said.stderr += data.toString()))
  const typing = setInterval(() => {
    const key = said.stderr.includes('password:') ? keys.shift() : undefined
    if (key !== undefined) child.stdin.write(key)
  }, 100)
  const late = setTimeout(() => child.kill(), 60_000)
  await once(child, 'close')
  clearInterval(typing)
  clearTimeout(late)
  assert.match(said.stdout, /length 9/)
  assert.match(said.stderr, /password: .*\*{6}/)
  assert.not.match(said.stderr, /hid|den|toggle/)
})

test('a given secret comes from the file first, then from the environment', async () => {
  const file = join(home, 'given')
  writeFileSync(file, 'from-file\n')
  process.env['KEYBUZZ_TEST_TOKEN'] = 'from-environment'
  const options = { flag: '--token-file', variable: 'KEYBUZZ_TEST_TOKEN' }
  assert.is((await givenSecret('token', { ...options, file })).reveal(), 'from-file')
  assert.is((await givenSecret('token', options)).reveal(), 'from-environment')
})

const ask = async (options: object): Promise<string> => {
  const script = `const { givenSecret } = await import('${join(import.meta.dirname, '../../../lib/input/secrets.mts')}')
await givenSecret('server token', ${JSON.stringify(options)}).catch((error) => console.log(error.message))`
  const child = promisify(execFile)(process.execPath, ['--input-type=module', '-e', script])
  child.child.stdin?.end()
  return (await child).stdout.trim()
}

test('at a terminal Enter alone is no secret: it asks again', async () => {
  const script = `for (const stream of [process.stdin, process.stderr]) stream.isTTY = true
const { givenSecret } = await import('${join(import.meta.dirname, '../../../lib/input/secrets.mts')}')
console.log((await givenSecret('server token', { flag: '--token-file', variable: 'KEYBUZZ_NO_TOKEN' })).reveal())`
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: 'pipe' })
  const answers = ['\r', 'from-hand\r']
  let [stdout, stderr] = ['', '']
  child.stdout.on('data', (data: Buffer) => (stdout += data.toString()))
  child.stderr.on('data', (data: Buffer) => {
    stderr += data.toString()
    if (/server token:|Type it, or press ctrl-C/.test(data.toString()) && answers.length > 0) child.stdin.write(answers.shift()!)
  })
  await once(child, 'close')
  assert.match(stderr, /Type it, or press ctrl-C\./)
  assert.is(stdout, 'from-hand\n')
})

test('without a terminal the message says which variable to set', async () => {
  assert.is(
    await ask({ flag: '--token-file', variable: 'KEYBUZZ_NO_TOKEN' }),
    'KEYBUZZ_NO_TOKEN is not set: expected the server token. Set KEYBUZZ_NO_TOKEN, or name a file that holds it with --token-file.'
  )
})

test('a file that cannot be read, or is empty, is named', async () => {
  const file = join(home, 'empty')
  writeFileSync(file, '\n')
  assert.is(
    await ask({ flag: '--token-file', variable: 'X', file }),
    `${file} is empty: expected the server token. Write it there, or leave --token-file out.`
  )
  assert.match(await ask({ flag: '--token-file', variable: 'X', file: '/nowhere/token' }), /^\/nowhere\/token .*ENOENT.* Mend --token-file\.$/)
})

test.run()
