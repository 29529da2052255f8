import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { UsageError } from '../../../lib/base/errors.mts'
import { useFakeSsh } from '../../support/fake-ssh.mts'

const home = useFakeSsh()
const { outputFaults, preflight, userFaults } = await import('../../../lib/run/preflight.mts')

const folder = mkdtempSync(join(tmpdir(), 'keybuzz-preflight-'))
test.after(() => rmSync(folder, { recursive: true }))

const faultsOf = (outputs: Parameters<typeof preflight>[0] = []): string[] => {
  try {
    preflight(outputs)
    return []
  } catch (error) {
    assert.instance(error, UsageError)
    return (error as Error).message.split('\n')
  }
}
const withVariable = (name: string, value: string, use: () => void): void => {
  const before = process.env[name]
  process.env[name] = value
  try {
    use()
  } finally {
    process.env[name] = before
  }
}

test('on a machine that is fit it leaves nothing but the folder of the logs, for the owner only', () => {
  assert.equal(faultsOf([{ flag: '--html', file: join(folder, 'page.html') }]), [])
  assert.is(statSync(join(home, '.keybuzz/logs')).mode & 0o777, 0o700)
  assert.equal([existsSync(join(folder, 'page.html')), existsSync(join(home, `.keybuzz/logs/.${process.pid}`))], [false, false])
})

test('a home that cannot be written is told in a line', () => {
  withVariable('HOME', '/dev/null', () => assert.equal(faultsOf(), [
    'this machine HOME "/dev/null/.keybuzz/logs": expected a folder that can be made (ENOTDIR: not a directory). Mend it, or set HOME to another folder.'
  ]))
  withVariable('HOME', 'relative', () => assert.match(faultsOf()[0]!, /^this machine HOME "relative\/\.keybuzz\/logs": expected an absolute path\./))
})

test('without ssh nothing is begun', () => {
  withVariable('PATH', folder, () => assert.equal(faultsOf(), [
    "this machine ssh: expected OpenSSH's client in PATH (spawnSync ssh ENOENT). Install openssh-client."
  ]))
})

test('a file that a flag names is tried, and stays as it was', () => {
  const there = join(folder, 'there')
  writeFileSync(there, 'before')
  mkdirSync(join(folder, 'sub'))
  assert.equal(outputFaults([{ flag: '--html', file: there }, { flag: '--html', file: '/dev/null' }]), [])
  assert.is(readFileSync(there, 'utf8'), 'before')
  const bad = [
    { flag: '--html', file: join(folder, 'nowhere/page.html') },
    { flag: '--bundle', file: join(folder, 'sub') },
    { flag: '--runbook', file: '/proc/runbook.md' }
  ]
  const lines = faultsOf(bad)
  assert.is(lines.length, 3)
  assert.match(lines[0]!, /^command line --html ".*\/page\.html": expected a file that can be written \(ENOENT: no such file or directory\)\. Name another one\.$/)
  assert.match(lines[1]!, /^command line --bundle .*EISDIR/)
  assert.match(lines[2]!, /^command line --runbook "\/proc\/runbook\.md": expected a file that can be written/)
})

test('a disk that takes no byte more is found, though a file can still be made', () => {
  const script = `process.on('SIGXFSZ', () => {})
const { outputFaults } = await import('${join(import.meta.dirname, '../../../lib/run/preflight.mts')}')
console.log(JSON.stringify(outputFaults([{ flag: '--html', file: '${join(folder, 'full.html')}' }]).map(({ expected }) => expected)))`
  // A limit of the size of files, which stands for the full disk; stdout is a pipe.
  const said = execFileSync('bash', ['-c', 'ulimit -f 0; exec "$0" --input-type=module -e "$1"', process.execPath, script], { encoding: 'utf8' })
  assert.equal(JSON.parse(said), ['a file that can be written (EFBIG: file too large)'])
  assert.not(existsSync(join(folder, 'full.html')))
})

test('a umask that shuts out oneself is not taken, and one against others is', () => {
  const before = process.umask(0o777)
  preflight([])
  assert.is(process.umask(before), 0o077)
})

test('a user whom the machine does not know is told: ssh would refuse', () => {
  assert.equal(userFaults(), [])
  if (process.getuid?.() !== 0) return
  const script = `const { userFaults } = await import('${join(import.meta.dirname, '../../../lib/run/preflight.mts')}')
const { homeFolder } = await import('${join(import.meta.dirname, '../../../lib/base/environment.mts')}')
delete process.env.HOME
process.setuid(54321)
console.log(JSON.stringify([homeFolder(), userFaults()[0]]))`
  const [folderOfNobody, fault] = JSON.parse(execFileSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' }))
  assert.equal([folderOfNobody, fault.what, fault.value], ['', 'user', '54321'])
})

test.run()
