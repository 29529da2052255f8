import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Run } from '../../../lib/run/run.mts'
import type { NamedSecret } from '../../../lib/secrets/holder.mts'
import { onNode } from '../../support/node-shell.mts'

const home = mkdtempSync(join(tmpdir(), 'keybuzz-given-'))
process.env['HOME'] = home
// Nobody is asked, also where the test is run at a terminal.
Object.defineProperty(process.stdin, 'isTTY', { value: false })
const { UsageError } = await import('../../../lib/base/errors.mts')
const { Secret } = await import('../../../lib/input/secrets.mts')
const { defaultSettings } = await import('../../../lib/input/settings.mts')
const { Refusal } = await import('../../../lib/run/step.mts')
const { knownSecrets, knowsGiven } = await import('../../../lib/secrets/given.mts')

const settings = defaultSettings()
const notes: string[] = []
const run = (mode: Run['mode']) => ({ mode, settings, note: (line: string) => void notes.push(line) })
type Some = { given: NamedSecret[]; made: NamedSecret[] }
const named = (name: string): NamedSecret => ({ name, what: `secret ${name}` })
const holder = (given: string[], made: string[] = []): Some => ({ given: given.map(named), made: made.map(named) })
const holders = [holder(['n8n-postgres-password', 'redis-password'], ['n8n-encryption-key']), holder(['redis-password', 'smtp-password'])]

const folder = join(home, '.keybuzz/secrets')
const kept = (name: string): string => readFileSync(join(folder, `prod-${name}`), 'utf8')
const keep = (name: string, value: string): void => writeFileSync(join(folder, `prod-${name}`), `${value}\n`)
const file = (...lines: string[]): string => {
  const path = join(home, 'secrets.env')
  writeFileSync(path, lines.join('\n'), { mode: 0o600 })
  return path
}
const values = (known: Map<string, { reveal: () => string }>): Record<string, string> =>
  Object.fromEntries([...known].map(([name, secret]) => [name, secret.reveal()]))
const messageOf = async (asking: Promise<unknown>): Promise<string> => {
  const error = await asking.then(() => assert.unreachable('it was taken'), (thrown: unknown) => thrown)
  assert.instance(error, UsageError)
  return (error as Error).message
}
test.before.each(() => {
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  for (const name of Object.keys(process.env)) if (name.startsWith('KEYBUZZ_')) delete process.env[name]
  notes.splice(0)
})

test('a secret comes from the file, else from its variable, else from what the bastion keeps', async () => {
  for (const name of ['n8n-postgres-password', 'redis-password', 'smtp-password', 'n8n-encryption-key']) keep(name, `kept-${name}`)
  process.env['KEYBUZZ_N8N_POSTGRES_PASSWORD'] = 'of-variable'
  process.env['KEYBUZZ_REDIS_PASSWORD'] = 'of-variable'
  process.env['KEYBUZZ_N8N_ENCRYPTION_KEY'] = 'not-for-made-ones'
  for (const mode of ['plan', 'validate', 'apply'] as const) {
    const { given, known } = await knownSecrets(run(mode), { holders, file: file('KEYBUZZ_REDIS_PASSWORD=of-file') })
    assert.equal(given.map(({ name }) => name), ['n8n-postgres-password', 'redis-password', 'smtp-password'])
    assert.equal(values(known), {
      'n8n-postgres-password': 'of-variable', 'redis-password': 'of-file', 'smtp-password': 'kept-smtp-password', 'n8n-encryption-key': 'kept-n8n-encryption-key'
    })
  }
})

test('the file may hold the secrets of applications that are left out, and no others', async () => {
  const path = file('KEYBUZZ_SMTP_PASSWORD=sesame')
  const { known } = await knownSecrets(run('plan'), { holders: holders.slice(0, 1), file: path, also: ['smtp-password'] })
  assert.equal(values(known), {})
  assert.match(await messageOf(knownSecrets(run('plan'), { holders: holders.slice(0, 1), file: path })), /secrets\.env:1 KEYBUZZ_SMTP_PASSWORD: expected a secret that is asked for/)
})

test('a plan and a validation ask nothing; an apply without a terminal names all that is missing, with its variables', async () => {
  process.env['KEYBUZZ_REDIS_PASSWORD'] = 'sesame'
  for (const mode of ['plan', 'validate'] as const) assert.equal(values((await knownSecrets(run(mode), { holders, file: undefined })).known), { 'redis-password': 'sesame' })
  assert.equal((await messageOf(knownSecrets(run('apply'), { holders, file: undefined }))).split('\n'), ['N8N_POSTGRES', 'SMTP'].map((name) =>
    `KEYBUZZ_${name}_PASSWORD is not set: expected the secret ${name.toLowerCase().replace('_', '-')}-password. Set it, or write it into the file of --secrets.`))
})

test('a variable that holds no secret is named, and its value is not shown', async () => {
  for (const value of ['', 'two\nlines-hidden', ' hidden']) {
    process.env['KEYBUZZ_SMTP_PASSWORD'] = value
    assert.is(await messageOf(knownSecrets(run('plan'), { holders, file: undefined })),
      'KEYBUZZ_SMTP_PASSWORD in the environment: expected one line that is not empty, without blanks at its ends. Correct or unset it.')
  }
})

test('at a terminal an apply asks for what is missing, masked', async () => {
  const lib = join(import.meta.dirname, '../../../lib')
  const script = `for (const stream of [process.stdin, process.stderr]) stream.isTTY = true
const { knownSecrets } = await import('${lib}/secrets/given.mts')
const { defaultSettings } = await import('${lib}/input/settings.mts')
const holder = { given: [{ name: 'redis-password', what: 'password of Redis' }, { name: 'smtp-password', what: 'password of the mail server' }], made: [] }
const { known } = await knownSecrets({ mode: 'apply', settings: defaultSettings() }, { holders: [holder], file: undefined })
console.log([...known].map(([name, secret]) => name + ' ' + secret.reveal()).join(', '))`
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: 'pipe' })
  let [stdout, stderr] = ['', '']
  const answers: [RegExp, string][] = [[/password of Redis:/, 'one-hidden\r'], [/password of the mail server:/, 'two-hidden\r']]
  child.stdout.on('data', (data: Buffer) => (stdout += data.toString()))
  child.stderr.on('data', (data: Buffer) => {
    stderr += data.toString()
    if (answers[0]?.[0].test(stderr)) child.stdin.write(answers.shift()![1])
  })
  await once(child, 'close')
  assert.is(stdout, 'redis-password one-hidden, smtp-password two-hidden\n')
  assert.not.match(stderr, /hidden/)
})

test('in a runbook all are placeholders, which it explains', async () => {
  process.env['KEYBUZZ_SMTP_PASSWORD'] = 'hidden'
  const { known } = await knownSecrets(run('runbook'), { holders, file: '/nowhere' })
  assert.is(values(known)['n8n-postgres-password'], '<KEYBUZZ_N8N_POSTGRES_PASSWORD>')
  assert.is(values(known)['n8n-encryption-key'], '<KEYBUZZ_N8N_ENCRYPTION_KEY>')
  assert.equal(notes, ['`<KEYBUZZ_NAME>` stands for the secret `name`.\nThe bastion keeps it as the one line of the file `prod-name` in ~/.keybuzz/secrets.'])
})

test('the step says what is missing, new or another one, and keeps what it knows', async () => {
  keep('smtp-password', 'old-hidden')
  process.env['KEYBUZZ_SMTP_PASSWORD'] = 'new-hidden'
  process.env['KEYBUZZ_REDIS_PASSWORD'] = 'redis-hidden'
  const secrets = await knownSecrets(run('plan'), { holders, file: undefined })
  let refusal = 'n8n: PostgreSQL does not let role n8n in'
  const step = knowsGiven(run('apply'), secrets, { whose: 'all', refusal: async () => refusal })
  assert.equal((await step.check()).split('\n'), [
    'n8n-postgres-password is not known',
    'an apply asks at the terminal, or takes them from --secrets or variables such as KEYBUZZ_N8N_POSTGRES_PASSWORD',
    'redis-password is not kept yet',
    'smtp-password is another than the one kept'
  ])
  secrets.known.set('n8n-postgres-password', new Secret('typed-hidden'))
  await step.change!().then(() => assert.unreachable(), (error: Error) => assert.is(error.message, `not kept: ${refusal}`))
  assert.is(kept('smtp-password'), 'old-hidden\n')
  refusal = ''
  await step.change!()
  assert.is(await step.check(), '')
  assert.is(kept('smtp-password'), 'new-hidden\n')
  assert.is(kept('n8n-postgres-password'), 'typed-hidden\n')
  assert.is(statSync(join(folder, 'prod-redis-password')).mode & 0o777, 0o600)
  assert.not.match(`${step.name}${step.look}${step.byHand}`, /hidden/)
})

test('a plan without a terminal refuses everything while one is missing: the apply behind it could not ask', async () => {
  const secrets = await knownSecrets(run('plan'), { holders, file: undefined })
  await knowsGiven(run('plan'), secrets, { whose: 'all', refusal: async () => '' }).check().then(() => assert.unreachable(), (error: unknown) => {
    assert.instance(error, Refusal)
    assert.match(String(error), /set KEYBUZZ_N8N_POSTGRES_PASSWORD, .*or write them into the file of --secrets/)
  })
  assert.match(await knowsGiven(run('validate'), secrets, { whose: 'all', refusal: async () => '' }).check(), /n8n-postgres-password is not known/)
})

test('by hand it is the same: each is typed, and Enter keeps the old one', async () => {
  keep('smtp-password', 'old')
  const step = knowsGiven(run('runbook'), await knownSecrets(run('runbook'), { holders, file: undefined }), { whose: 'all', refusal: async () => '' })
  assert.is(onNode(step.look).stdout, 'n8n-postgres-password is not known\nredis-password is not known')
  const typed = onNode(`{ ${step.byHand}\n} <<'END'\nwith 'all' "\\$ signs\nof redis\n\nEND`)
  assert.is(typed.stderr, '')
  assert.equal(['n8n-postgres-password', 'redis-password', 'smtp-password'].map(kept), ['with \'all\' "\\$ signs\n', 'of redis\n', 'old\n'])
  assert.is(statSync(join(folder, 'prod-redis-password')).mode & 0o777, 0o600)
  assert.is(onNode(step.look).stdout, '')
})

test.run()
