// test/setup.sh, with an npm and a sleep of the test's own.
import { spawn } from 'node:child_process'
import { text } from 'node:stream/consumers'
import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'

const folder = await mkdtemp(join(tmpdir(), 'keybuzz-setup-'))
test.after(() => rm(folder, { recursive: true }))

const setup = async (npm: string): Promise<{ code: number; lines: string[] }> => {
  const root = join(folder, 'project')
  const bin = join(folder, 'bin')
  await rm(root, { recursive: true, force: true })
  for (const one of [bin, join(root, 'test'), join(root, 'node_modules')]) await mkdir(one, { recursive: true })
  await cp(join(import.meta.dirname, '../setup.sh'), join(root, 'test/setup.sh'))
  await writeFile(join(root, 'package-lock.json'), '{}')
  await writeFile(join(bin, 'npm'), `#!/bin/sh\n${npm}\n`, { mode: 0o755 })
  await writeFile(join(bin, 'sleep'), '#!/bin/sh\nexec /bin/sleep 0.1\n', { mode: 0o755 })
  const env = { ...process.env, PATH: `${bin}:${process.env['PATH']}` }
  const child = spawn('sh', [join(root, 'test/setup.sh')], { env, stdio: ['ignore', 'pipe', 'inherit'] })
  const code = new Promise<number>((resolve) => child.on('close', (status) => resolve(status ?? -1)))
  const output = await text(child.stdout)
  return { code: await code, lines: output.trim().split('\n') }
}

test('an installation that takes long says so every 20 seconds, until it ends', async () => {
  const { code, lines } = await setup('/bin/sleep 1; echo added')
  assert.is(code, 0)
  assert.is(lines[0], 'Installing the packages of package-lock.json ...')
  const ended = lines.indexOf('added')
  assert.ok(ended > 2, lines.join('\n'))
  assert.ok(lines.length - ended <= 2, 'at most one line was just being written')
  for (const line of lines.slice(1).filter((one) => one !== 'added')) assert.match(line, /^Installing the packages, \d+ s so far$/)
})

test('one that fails fails, and leaves nothing that writes on', async () => {
  const { code, lines } = await setup('echo refused; exit 7')
  assert.is(code, 7)
  assert.is(lines.at(-1), 'refused')
})

test.run()
