// Each file below fixtures/ is named by the one fault that it holds, and has beside it, as .txt, what must be said.
import { execFile } from 'node:child_process'
import { access, chmod, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, delimiter, join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { UsageError } from '../../../lib/base/errors.mts'
import { readInputs } from '../../../lib/input/inputs.mts'

const test = suite('bad input')
const root = join(import.meta.dirname, '../../..')
const fixtures = join(import.meta.dirname, '../../fixtures')
const script = join(root, '09_k3s_01_prepare.mts')

const folder = await mkdtemp(join(tmpdir(), 'bad-input-'))
test.after(() => rm(folder, { recursive: true }))

// Whoever looks for ssh finds this one, which remembers that it was called.
const calls = join(folder, 'calls')
for (const name of ['ssh', 'scp', 'sftp']) {
  await writeFile(join(folder, name), `#!/bin/sh\necho "${name} $*" >> '${calls}'\nexit 255\n`)
  await chmod(join(folder, name), 0o755)
}
const path = `${folder}${delimiter}${process.env['PATH']}`
process.env['PATH'] = path

const wasCalled = async (): Promise<boolean> => {
  try {
    await access(calls)
    return true
  } catch {
    return false
  }
}

type Kind = { flag: '--inventory' | '--settings'; folder: string; extension: string }

const kinds: Kind[] = [
  { flag: '--inventory', folder: 'inventory', extension: '.tsv' },
  { flag: '--settings', folder: 'settings', extension: '.yaml' }
]

type Fixture = Kind & { file: string; expected: string }

const fixturesOf = async (kind: Kind): Promise<Fixture[]> => {
  const names = (await readdir(join(fixtures, kind.folder))).filter((name) => name.endsWith(kind.extension)).toSorted()
  return Promise.all(names.map(async (name) => ({
    ...kind,
    file: `${kind.folder}/${name}`,
    expected: await readFile(join(fixtures, kind.folder, `${basename(name, kind.extension)}.txt`), 'utf8')
  })))
}

const all = (await Promise.all(kinds.map(fixturesOf))).flat()

// Paths in messages are those that the operator gave.
process.chdir(fixtures)

const read = ({ flag, file }: Fixture) =>
  readInputs({
    settings: flag === '--settings' ? file : join(root, 'settings.yaml'),
    inventory: flag === '--inventory' ? file : join(root, 'servers.tsv')
  })

test('there are more than forty fixtures, each with what is to be said', () => {
  assert.ok(all.length > 40, String(all.length))
  for (const { file, expected } of all) assert.ok(expected.startsWith(file), file)
})

for (const fixture of all) {
  test(fixture.file, async () => {
    try {
      await read(fixture)
    } catch (error) {
      if (!(error instanceof UsageError)) throw error
      assert.is(error.exitCode, 64)
      assert.fixture(`${error.message}\n`, fixture.expected)
      return
    }
    assert.unreachable('it was accepted')
  })
}

test('each message names the file, what was expected and a remedy, and ends as a sentence', () => {
  for (const { file, expected } of all) {
    const lines = expected.trimEnd().split('\n')
    if (!file.includes('many-faults')) assert.ok(lines.length <= 2, `${file} says ${lines.length} things`)
    for (const line of lines) assert.match(line, /^(inventory|settings)\/[\w-]+\.\w+(:\d+)? .+: expected .+\. .+[.?]$/)
  }
})

const run = (argv: string[]): Promise<{ exitCode: number; stdout: string; stderr: string }> =>
  new Promise((resolve) => {
    const env = { ...process.env, PATH: path, HOME: folder, NO_COLOR: '1' }
    const child = execFile(process.execPath, [script, ...argv], { cwd: fixtures, env }, (_, stdout, stderr) =>
      resolve({ exitCode: child.exitCode ?? -1, stdout, stderr }))
  })

// A process for each would take a minute; what a script adds to the reading is the same for all.
const STARTED = [
  'inventory/hostname-is-an-ssh-option.tsv',
  'inventory/many-faults-at-once.tsv',
  'settings/many-faults-at-once.yaml',
  'settings/unknown-key-nameserver.yaml'
]

test('a script says exactly that, on stderr alone, and exits with 64', async () => {
  const started = all.filter(({ file }) => STARTED.includes(file))
  assert.is(started.length, STARTED.length)
  await Promise.all(started.map(async ({ flag, file, expected }) => {
    const { exitCode, stdout, stderr } = await run(['--plan', flag, file])
    assert.fixture(stderr, expected)
    assert.is(stdout, '')
    assert.is(exitCode, 64)
  }))
})

test('no host was contacted', async () => {
  assert.not(await wasCalled())
})

test('the ssh that would have been called does tell', async () => {
  await new Promise((resolve) => execFile('ssh', ['-V'], { env: { PATH: path } }, resolve))
  assert.is(await readFile(calls, 'utf8'), 'ssh -V\n')
})

test.run()
