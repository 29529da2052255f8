import { execFileSync } from 'node:child_process'
import { chmodSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { isOdd, readSecretsFile } from '../../../lib/secrets/file.mts'
import { UsageError } from '../../../lib/base/errors.mts'
import { redact } from '../../../lib/input/secrets.mts'

const folder = mkdtempSync(join(tmpdir(), 'keybuzz-secrets-file-'))
const file = join(folder, 'secrets.env')
const names = ['n8n-postgres-password', 'redis-password', 'smtp-password']
const write = (...lines: string[]): void => {
  writeFileSync(file, lines.join('\n'))
  chmodSync(file, 0o600)
}
const read = async (): Promise<Record<string, string>> =>
  Object.fromEntries([...await readSecretsFile(file, names)].map(([name, secret]) => [name, secret.reveal()]))
const faults = async (path = file): Promise<string[]> => {
  const error = await readSecretsFile(path, names).then(() => assert.unreachable('it was taken'), (thrown: unknown) => thrown)
  assert.instance(error, UsageError)
  return (error as Error).message.replaceAll(path, 'FILE').split('\n')
}

test('lines are NAME=value, with comments, quotes and export; the values are secrets', async () => {
  write('# of the DBA', '', 'KEYBUZZ_N8N_POSTGRES_PASSWORD=plain$1\\x==\r', "  export KEYBUZZ_REDIS_PASSWORD = 'with # and \"'", 'KEYBUZZ_SMTP_PASSWORD="it\'s"')
  assert.equal(await read(), { 'n8n-postgres-password': 'plain$1\\x==', 'redis-password': 'with # and "', 'smtp-password': "it's" })
  assert.is(redact('plain$1\\x=='), '[secret]')
  write('')
  assert.equal(await read(), {})
})

test('all faults are told at once, with the line and what was meant, and without any value', async () => {
  write('KEYBUZZ_N8N_POSTGRE_PASSWORD=hidden', 'KEYBUZZ_VAULT_TOKEN=hidden', 'aGlkZGVu==', 'hidden', 'KEYBUZZ_REDIS_PASSWORD=', "KEYBUZZ_REDIS_PASSWORD=' hidden'",
    'KEYBUZZ_REDIS_PASSWORD=one#hidden', "KEYBUZZ_REDIS_PASSWORD='hid''den'", 'KEYBUZZ_REDIS_PASSWORD="hid\\nden"', 'KEYBUZZ_REDIS_PASSWORD="hidden',
    'more hidden"', 'KEYBUZZ_SMTP_PASSWORD=good', 'KEYBUZZ_SMTP_PASSWORD=hidden')
  const cut = "expected a value that is read as it stands there. Put it into '...': elsewhere # begins a comment."
  const odd = 'expected one line that is not empty, without blanks at its ends. Correct it.'
  const other = 'is something else: expected NAME=value, with the name in capitals. Correct the line.'
  assert.equal(await faults(), [
    'FILE:1 KEYBUZZ_N8N_POSTGRE_PASSWORD: expected a secret that is asked for. Did you mean KEYBUZZ_N8N_POSTGRES_PASSWORD?',
    'FILE:2 KEYBUZZ_VAULT_TOKEN: expected a secret that is asked for. Delete the line, or enable what it is for.',
    `FILE:3 ${other}`,
    `FILE:4 ${other}`,
    `FILE:5 KEYBUZZ_REDIS_PASSWORD: ${odd}`,
    `FILE:6 KEYBUZZ_REDIS_PASSWORD: ${odd}`,
    `FILE:7 KEYBUZZ_REDIS_PASSWORD: ${cut}`,
    `FILE:8 KEYBUZZ_REDIS_PASSWORD: ${cut}`,
    `FILE:9 KEYBUZZ_REDIS_PASSWORD: ${cut}`,
    `FILE:10 KEYBUZZ_REDIS_PASSWORD: ${cut}`,
    `FILE:11 ${other}`,
    'FILE:13 KEYBUZZ_SMTP_PASSWORD: expected each name once. Delete one of the two.'
  ])
})

test('a file that others can read is refused, with the command that mends it', async () => {
  write('KEYBUZZ_REDIS_PASSWORD=sesame')
  for (const mode of [0o644, 0o640, 0o604, 0o620]) {
    chmodSync(file, mode)
    assert.equal(await faults(), [`FILE has the mode 0${mode.toString(8)}: expected a file that only its owner can read. Run: chmod 600 FILE`])
  }
  chmodSync(file, 0o400)
  assert.equal(await read(), { 'redis-password': 'sesame' })
})

test('a file that is not there is named, and so is a pipe: the second reading would find nothing', async () => {
  assert.match((await faults(join(folder, 'nowhere')))[0]!, /^FILE ENOENT.*: expected the secrets in a file that can be read\. Mend --secrets\.$/)
  execFileSync('mkfifo', ['-m', '600', join(folder, 'pipe')])
  for (const path of [join(folder, 'pipe'), folder]) {
    assert.equal(await faults(path), ['FILE is no file: expected one that can be read twice. Write the secrets into a file.'])
  }
})

test('what cannot be kept as the line of a file is odd', () => {
  assert.equal(['', ' a', 'a ', 'a\nb', 'a\tb', 'a\u0000'].filter((value) => !isOdd(value)), [])
  assert.equal(['a', 'a b', "it's", 'é€"$`\\#'].filter(isOdd), [])
})

test.run()
