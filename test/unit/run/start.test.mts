// lib/run/start.sh, which the first line of each script calls.
import { spawn, spawnSync } from 'node:child_process'
import { chmodSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'

const root = join(import.meta.dirname, '../../..')
const folder = mkdtempSync(join(tmpdir(), 'keybuzz-start-'))
test.after(() => rmSync(folder, { recursive: true }))
const scripts = globSync('09_k3s_*.mts', { cwd: root })
const script = join(root, '09_k3s_apply_all.mts')

/** A folder for PATH with a `node` of a version, which prints its arguments and some of its environment. */
const pathWith = (version: string): string => {
  const bin = join(folder, version)
  mkdirSync(bin, { recursive: true })
  const node = join(bin, 'node')
  writeFileSync(node, `#!/bin/sh
if [ "$1" = --version ]; then echo ${version}; exit; fi
echo "$@"
echo "\${NODE_OPTIONS-none} \${NODE_TLS_REJECT_UNAUTHORIZED-none} $NODE_USE_ENV_PROXY \${KEYBUZZ_NOHUP:-no}"
`)
  chmodSync(node, 0o755)
  return `${bin}:/usr/bin:/bin`
}
const start = (PATH: string, { file = script, env = {} } = {}) => {
  const { status, stdout, stderr } = spawnSync(file, ['--plan', 'a b'], { encoding: 'utf8', env: { PATH, ...env } })
  return { status, stdout, stderr }
}

test('every script begins with the line that calls it', () => {
  const first = `#!/usr/bin/env -S sh -c 'exec "$(dirname "$(readlink -f "$0")")/lib/run/start.sh" "$0" "$@"'`
  assert.equal(scripts.filter((file) => readFileSync(join(root, file), 'utf8').split('\n')[0] !== first), [])
})

test('an old Node, or none, is told in one line with what to do, and exits with 64', () => {
  const remedy = `Run: export PATH=${root}/node_modules/.bin:$PATH\n`
  for (const version of ['18.20.8', '20.20.2', '22.21.1', '23.11.1', '24.0.2', '24.1.0']) {
    const stderr = `Node 24.2 or later is needed, this is ${version}. ${remedy}`
    assert.equal(start(pathWith(`v${version}`)), { status: 64, stdout: '', stderr })
  }
  const none = join(folder, 'none')
  mkdirSync(none)
  for (const tool of ['env', 'sh', 'dirname', 'readlink']) symlinkSync(`/usr/bin/${tool}`, join(none, tool))
  assert.equal(start(none), { status: 64, stdout: '', stderr: `Node 24.2 or later is needed, PATH has none. ${remedy}` })
})

test('a Node that is new enough gets the script and its arguments, and nothing that changes what it does', () => {
  for (const version of ['v24.2.0', 'v24.21.0', 'v26.0.0']) {
    const { status, stdout } = start(pathWith(version), { env: { NODE_OPTIONS: '--require nothing', NODE_TLS_REJECT_UNAUTHORIZED: '0' } })
    assert.equal([status, stdout], [0, `${script} --plan a b\nnone none 1 no\n`])
  }
})

test('a script is found through a link, from any folder', () => {
  const link = join(folder, 'apply')
  symlinkSync(script, link)
  assert.equal(start(pathWith('v24.2.0'), { file: link }).stdout.split('\n')[0], `${link} --plan a b`)
})

test('it says whether nohup was there, for Node forgets it', () => {
  const env = { PATH: pathWith('v24.2.0') }
  const { stdout } = spawnSync('nohup', [script, '--plan'], { encoding: 'utf8', env })
  assert.match(stdout, / 1 1\n$/)
})

// A script that is started so is the process that signals go to.
test('the script is the process that was started', async () => {
  const bin = join(folder, 'sleeps')
  mkdirSync(bin)
  writeFileSync(join(bin, 'node'), '#!/bin/sh\nif [ "$1" = --version ]; then echo v24.2.0; exit; fi\necho $$\nexec sleep 60\n', { mode: 0o755 })
  const child = spawn(script, [], { stdio: ['ignore', 'pipe', 'inherit'], env: { PATH: `${bin}:/usr/bin:/bin` } })
  const [pid] = await Promise.all([new Promise<string>((done) => child.stdout.once('data', (data: Buffer) => done(String(data).trim())))])
  assert.is(Number(pid), child.pid)
  child.kill('SIGKILL')
})

test.run()
