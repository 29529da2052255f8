// Starts made-up scripts as an operator does: as processes, beside their servers.tsv and settings.yaml.
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { eventually } from '../../support/eventually.mts'
import { useFakeSsh } from '../../support/fake-ssh.mts'

const folder = useFakeSsh()
const lib = join(import.meta.dirname, '../../../lib')
const made = join(folder, 'made')
const lock = join(folder, 'lock')

const columns = 'ENV IP_PUBLIQUE HOSTNAME IP_PRIVEE FQDN USER_SSH POOL ROLE SUBROLE DOCKER_STACK CORE NOTES'.split(' ')
const rows = [
  columns,
  'prod,,s-1,10.0.0.100,,root,k3s,k3s,master,k3s-control-plane,,'.split(','),
  'prod,,w-1,10.0.0.110,,root,k3s,k3s,worker,k3s-node,8,'.split(',')
]
writeFileSync(join(folder, 'servers.tsv'), rows.map((row) => `${row.join('\t')}\n`).join(''))
writeFileSync(join(folder, 'settings.yaml'), 'pools: {}\n')

const header = (name: string): string => `#!/usr/bin/env node
// ${name}  Make a file
//
// Makes a file on every node.
//
// Needs:   nothing.
// Changes: a file.
// Example: ./${name}.mts --plan
`
const first = join(folder, '09_k3s_97_first.mts')
writeFileSync(first, `${header('09_k3s_97')}
import { Secret } from '${lib}/input/secrets.mts'
import { operate, script } from '${lib}/run/script.mts'
import { flag, instead, value } from '${lib}/run/flags.mts'

export const makes = script({
  id: '09_k3s_97', title: 'Make a file', file: import.meta.filename,
  flags: { ill: flag('be ill'), unfit: flag('be unfit for any change'), slow: flag('take long'), broken: flag('have a bug'), named: value('NAME', 'call the file so'), show: instead(flag('show the file, and do nothing else')) },
  story: async (run, { ill, unfit, slow, broken, named = 'file', show }) => {
    if (show) return
    await run.on(run.hosts, ({ name }) => [{
      name: 'has the file', check: \`[[ -e ${made}/\${named}-\${name} ]] || echo is missing\`, change: \`touch ${made}/\${named}-\${name}\`
    }])
    if (slow && run.mode === 'apply') await run.on(run.servers, () => [{ name: 'takes long', check: 'touch ${made}/slow; sleep 60' }])
    if (ill) await run.once([{ name: 'is well', look: 'ls', check: async () => 'is ill of ' + new Secret('plague-1347').reveal(), hint: 'see a doctor' }])
    if (unfit) await run.once([{ name: 'is fit', look: 'ls', check: async () => 'is not', always: true }])
    if (broken && run.mode !== 'runbook') Object(undefined).nothing.at(0)
  }
})

if (import.meta.main) await operate([makes], import.meta.filename)
`)
const both = join(folder, '09_k3s_all.mts')
writeFileSync(both, `${header('09_k3s_all')}
import { makes } from '${first}'
import { operate, script } from '${lib}/run/script.mts'

const later = script({
  id: '09_k3s_98', title: 'Be ready', file: import.meta.filename,
  story: (run) => run.once([{ name: 'is ready', look: 'ls', check: async () => '' }])
})
const late = script({ id: '09_k3s_99', title: 'Be late', file: import.meta.filename, story: async (run) => {
  await run.once([{ name: 'is there', look: 'ls', check: async () => (run.mode === 'plan' ? '' : 'is not') }])
} })

if (import.meta.main) await operate([later, late, makes], import.meta.filename)
`)
const judges = join(folder, '09_k3s_judge.mts')
writeFileSync(judges, `${header('09_k3s_judge')}
import { makes } from '${first}'
import { operate } from '${lib}/run/script.mts'
import { flag, output } from '${lib}/run/flags.mts'

await operate([makes], import.meta.filename, {
  mode: 'validate',
  flags: { strict: flag('more of it'), page: output('a page'), lost: flag('fail at the end') },
  after: async ({ run, sections, exitCode, say }, { strict, lost }) => {
    if (lost) throw new Error('the page cannot be written')
    say(\`after \${run.mode} of \${sections.length}\`)
    return { exitCode: strict ? 1 : exitCode, strict }
  }
})
`)

let homes = 0
let home = ''
test.before.each(() => {
  for (const path of [made, lock]) rmSync(path, { recursive: true, force: true })
  mkdirSync(made)
  home = join(folder, `home-${homes++}`)
})

type Said = { exitCode: number | null; stdout: string; stderr: string }

type Around = { shell?: string; more?: Record<string, string> }

/** Starts a script. `shell` is what bash does before, as a limit, or with `"$@"` in it how it is started. */
const start = (file: string, argv: string[], { shell, more = {} }: Around = {}) => {
  const env = { ...process.env, HOME: home, NO_COLOR: '1', NODE_COMPILE_CACHE: join(folder, 'compiled'), ...more } // half the time of a start
  const command = [process.execPath, file, ...argv]
  const child = shell === undefined
    ? spawn(command[0]!, command.slice(1), { stdio: ['ignore', 'pipe', 'pipe'], env })
    : spawn('bash', ['-c', shell, 'bash', ...command], { stdio: ['ignore', 'pipe', 'pipe'], env })
  const said = { stdout: '', stderr: '' }
  child.stdout.on('data', (data: Buffer) => (said.stdout += data.toString()))
  child.stderr.on('data', (data: Buffer) => (said.stderr += data.toString()))
  const ended = new Promise<Said>((done) => child.on('close', (exitCode) => done({ exitCode, ...said })))
  return { child, ended }
}
const run = (...argv: string[]): Promise<Said> => start(first, argv).ended
const files = (): string[] => readdirSync(made).toSorted()
const lines = (text: string): string[] => text.trimEnd().split('\n')
/** Without what differs each time: dates, seconds, the log's name. */
const steady = (text: string): string[] =>
  lines(text).map((line) => line.replace(/^\d{4}-\S+Z/, 'DATE').replace(/in [\d.]+ s · log .*/, 'in SECONDS'))

test('--help is the header of the script, its flags with its own, and the exit codes; it needs no input', async () => {
  const { exitCode, stdout, stderr } = await run('--help', '--inventory', '/nowhere')
  assert.equal([exitCode, stderr], [0, ''])
  const text = lines(stdout)
  assert.equal(text.slice(0, 2), ['09_k3s_97  Make a file', ''])
  assert.ok(text.includes('Example: ./09_k3s_97.mts --plan'))
  for (const flag of ['--plan   ', '--yes   ', '--runbook FILE ', '--force-unlock ', '--named NAME ']) assert.ok(stdout.includes(`\n  ${flag}`), flag)
  assert.match(stdout, /\n {2}--named NAME +call the file so\n/)
  assert.is(text.at(-1), 'Exit codes: 0 converged, 1 failed, 2 the plan has changes, 64 wrong usage or input, 130 interrupted.')
})

test('what does something else than its script is there for is no flag of what runs many', async () => {
  assert.is((await run('--plan', '--show')).exitCode, 0)
  const { exitCode, stderr } = await start(both, ['--plan', '--show']).ended
  assert.is(exitCode, 64)
  assert.match(stderr, /--show: expected a flag that this script has/)
})

test('a plan says what would change, changes nothing, and exits with 2', async () => {
  const { exitCode, stdout } = await run('--plan')
  assert.is(exitCode, 2)
  const said = steady(stdout)
  assert.equal(said.toSorted(), [
    `09_k3s_97  Make a file${' '.repeat(44)}plan · 2 hosts`,
    'DATE s-1             ~ has the file: is missing',
    'DATE w-1             ~ has the file: is missing',
    'HOST              OK  CHANGE  UNKNOWN  FAILED',
    's-1                0       1        0       0',
    'w-1                0       1        0       0',
    '2 changes in SECONDS'
  ].toSorted())
  assert.equal(files(), [])
})

test('an apply changes, gives the lock back, logs, and a plan after it exits with 0', async () => {
  const { exitCode, stdout } = await run('--yes')
  assert.is(exitCode, 0)
  assert.match(stdout, /apply · 2 hosts/)
  assert.equal(files(), ['file-s-1', 'file-w-1'])
  assert.not(existsSync(lock))
  const [log] = readdirSync(join(home, '.keybuzz/logs'))
  assert.match(log!, /^\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d_97_first\.log$/)
  assert.match(readFileSync(join(home, '.keybuzz/logs', log!), 'utf8'), /w-1 +~ has the file: is missing\n/)
  const { exitCode: again, stdout: after } = await run('--plan')
  assert.is(again, 0)
  assert.match(after, /^0 changes in /m)
})

test('without a terminal nothing is begun unless --yes or --plan says what', async () => {
  assert.equal(await run(), {
    exitCode: 64, stdout: '',
    stderr: 'command line --yes: expected it where there is no terminal to ask at. Add --yes to apply, or --plan to look only.\n'
  })
  assert.not(existsSync(join(home, '.keybuzz')))
})

test('what was mistyped begins nothing, and all of it is told', async () => {
  const cases: [string[], string[]][] = [
    [['--plann', '--named'], [
      'command line --plann: expected a flag that this script has. Did you mean --plan?',
      'command line --named: expected a value. Give it one: --named VALUE.'
    ]],
    [['--hosts', 'w-1,w-9,x'], [
      'command line --hosts "w-9": expected one of s-1, w-1. Did you mean w-1?',
      'command line --hosts "x": expected one of s-1, w-1. Correct it.'
    ]],
    [['--hosts', ','], ['command line --hosts ",": expected one of s-1, w-1. Name a host.']]
  ]
  await Promise.all(cases.map(async ([argv, said]) => {
    assert.equal(await run('--yes', ...argv), { exitCode: 64, stdout: '', stderr: said.map((line) => `${line}\n`).join('') })
  }))
  assert.not(existsSync(join(home, '.keybuzz')))
})

test('only the hosts that were chosen are worked on, and a flag of the script reaches its story', async () => {
  assert.is((await run('--yes', '--hosts', ' w-1 ', '--named', 'other')).exitCode, 0)
  assert.equal(files(), ['other-w-1'])
})

test('something that fails exits with 1, in a plan and in an apply, and its words show no secret', async () => {
  const applied = await run('--yes', '--ill', '--json')
  assert.is(applied.exitCode, 1)
  assert.match(applied.stderr, /^2 changes, 1 host failed in /m)
  assert.not(existsSync(lock))
  assert.is(JSON.parse(applied.stdout).scripts[0].hosts.cluster[0].words, 'is ill of [secret]')
  const logs = readdirSync(join(home, '.keybuzz/logs')).map((name) => readFileSync(join(home, '.keybuzz/logs', name), 'utf8'))
  assert.match(logs.join(''), /is ill of \[secret\]/)
  assert.not.match(logs.join(''), /plague/)
  // Without changes, but with what may be just coming up: --yes waits for it in an apply.
  const again = await run('--yes', '--ill')
  assert.is(again.exitCode, 1)
  assert.match(again.stdout, /apply · 2 hosts/)
  const planned = await run('--plan', '--ill')
  assert.is(planned.exitCode, 1)
  assert.match(planned.stdout, /cluster +✗ is well: is ill of \[secret\] \| Hint: see a doctor\n/)
})

test('while something fails that must always hold, nothing at all is changed', async () => {
  for (const mode of ['--plan', '--yes']) {
    const { exitCode, stdout } = await run(mode, '--unfit')
    assert.is(exitCode, 1)
    assert.match(stdout, /^Nothing may be changed while these fail: cluster "is fit"\.$/m)
    assert.equal(files(), [])
  }
})

test('--json is the result alone on stdout, and the text goes to stderr', async () => {
  const { exitCode, stdout, stderr } = await run('--yes', '--json')
  assert.is(exitCode, 0)
  const { scripts, ssh, seconds, ...rest } = JSON.parse(stdout)
  assert.equal(rest, { exitCode: 0 })
  assert.equal(scripts.map(({ id, mode, hosts }: Record<string, unknown>) => ({ id, mode, hosts })), [{
    id: '09_k3s_97', mode: 'apply',
    hosts: Object.fromEntries(Object.keys(scripts[0].hosts).map((name) => [name, [{ step: 'has the file', result: 'changed', words: 'is missing' }]]))
  }])
  assert.equal(Object.keys(scripts[0].hosts).toSorted(), ['s-1', 'w-1'])
  // Two for the plan, four for the changes, two for the lock.
  assert.is(ssh.commands, 8)
  assert.ok(seconds > 0)
  assert.match(stderr, /^2 changes in /m)
})

test('a lock that another run has stops an apply before it changes anything', async () => {
  mkdirSync(lock)
  writeFileSync(join(lock, 'holder'), 'alice@elsewhere\n4711 1\n2026-11-22T10:31:04Z\n03_join_workers\nan-id\n')
  const { exitCode, stderr } = await run('--yes')
  assert.is(exitCode, 1)
  assert.match(stderr, /alice@elsewhere is at work on the cluster: 03_join_workers since 2026-11-22T10:31:04Z \(process 4711\)\nHint: .*--force-unlock\.\n$/)
  assert.equal(files(), [])
  const forced = await run('--yes', '--force-unlock')
  assert.is(forced.exitCode, 64)
  assert.match(forced.stderr, /command line --force-unlock: expected a terminal, for it must be confirmed\. Run it at a terminal\.\n$/)
  assert.equal([files(), existsSync(lock)], [[], true])
})

const slow = ['--yes', '--json', '--slow']
const isSlow = (): Promise<void> => eventually('the slow step is at work', () => existsSync(join(made, 'slow')))

test('ctrl-C ends it with 130, and gives the lock back', async () => {
  const { child, ended } = start(first, slow)
  await isSlow()
  assert.ok(existsSync(lock))
  child.kill('SIGINT')
  const { exitCode, stdout, stderr } = await ended
  assert.equal([exitCode, stdout], [130, ''])
  assert.is(lines(stderr).at(-1), 'Interrupted. Nothing is left running on the nodes; run it again to go on from there.')
  assert.not(existsSync(lock))
})

test('a terminal that closes ends it as ctrl-C does, but not where nohup is there', async () => {
  const plain = start(first, slow, { more: { KEYBUZZ_NOHUP: '' } })
  await isSlow()
  plain.child.kill('SIGHUP')
  assert.is((await plain.ended).exitCode, 130)

  for (const more of [{ KEYBUZZ_NOHUP: '1' }, {}]) { // start.sh says it; else no terminal is left
    for (const name of files()) rmSync(join(made, name))
    const { child, ended } = start(first, slow, { more })
    await isSlow()
    child.kill('SIGHUP')
    await sleep(300)
    assert.is(child.exitCode, null)
    child.kill('SIGINT')
    assert.is((await ended).exitCode, 130)
  }
})

test('what a run starts is in a group of its own, which a closed terminal does not reach', async () => {
  const { child, ended } = start(first, slow)
  await isSlow()
  const groups = (pid: number): string[] => readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean)
    .map((one) => readFileSync(`/proc/${one}/stat`, 'utf8').split(') ')[1]!.split(' ')[2]!)
  const own = readFileSync(`/proc/${child.pid}/stat`, 'utf8').split(') ')[1]!.split(' ')[2]!
  assert.ok(groups(child.pid!).length > 0)
  assert.not(groups(child.pid!).includes(own))
  child.kill('SIGINT')
  await ended
})

test('a machine that is not fit, or a file that cannot be written, is told before anything is looked at', async () => {
  const cases: [string, string[], Around, RegExp][] = [
    [first, ['--yes'], { more: { HOME: '/dev/null' } }, /^this machine HOME "\/dev\/null\/\.keybuzz\/logs": expected a folder that can be made \(ENOTDIR: .*\n$/],
    [first, ['--yes'], { shell: 'ulimit -f 0; exec "$@"' }, /^this machine HOME ".*": expected a folder that can be written \(EFBIG: file too large\)\. .*\n$/],
    [judges, ['--page', '/nowhere/page.html'], {}, /^command line --page "\/nowhere\/page\.html": expected a file that can be written \(ENOENT: .*\n$/],
    [first, ['--runbook', '/nowhere/book.md'], {}, /^command line --runbook "\/nowhere\/book\.md": expected a file that can be written .*\n$/]
  ]
  await Promise.all(cases.map(async ([file, argv, around, words]) => {
    const { exitCode, stdout, stderr } = await start(file, argv, around).ended
    assert.equal([exitCode, stdout], [64, ''], stderr)
    assert.match(stderr, words)
  }))
  assert.equal([files(), existsSync(lock)], [[], false])
})

test('--help needs neither a home nor a user', async () => {
  assert.is((await start(first, ['--help'], { more: { HOME: '/dev/null' } }).ended).exitCode, 0)
})

test('a log that ends in the middle of a run is told once, and fails no host', async () => {
  // A limit of the size of files stands for a full disk. Its signal is left out.
  const { exitCode: full, stderr: said } = await start(first, ['--yes', '--named', 'x'.repeat(200)], { shell: 'ulimit -f 1; exec "$@"', more: { NODE_DISABLE_COMPILE_CACHE: '1', NODE_OPTIONS: `--import="data:text/javascript,process.on('SIGXFSZ',()=>{})"` } }).ended
  assert.is(full, 0, said)
  assert.equal(lines(said).filter((line) => line.startsWith('The log is incomplete')), ['The log is incomplete from here on: EFBIG: file too large, write'])
  assert.is(files().length, 2)
})

test('a result that cannot be written is no success', async () => {
  for (const argv of [['--plan', '--json'], ['--yes', '--json'], ['--yes']]) {
    const { exitCode, stderr } = await start(first, argv, { shell: 'exec "$@" > /dev/full' }).ended
    assert.is(exitCode, 1, stderr)
    assert.is(lines(stderr).filter((line) => line === 'The result cannot be written to stdout: ENOSPC: no space left on device, write').length, 1, stderr)
  }
  assert.equal(files(), ['file-s-1', 'file-w-1']) // the run itself went on
})

test('a bug is told with its place, and exits with 1', async () => {
  const { exitCode, stderr } = await run('--plan', '--broken')
  assert.is(exitCode, 1)
  assert.match(stderr, /^TypeError: .*\n {4}at .*09_k3s_97_first\.mts:\d+/m)
})

test('of several scripts those behind one that failed are not run, and named', async () => {
  const { exitCode, stdout } = await start(both, ['--yes']).ended
  assert.is(exitCode, 1)
  assert.match(stdout, /^Not run, because 09_k3s_99 failed: 09_k3s_97\. Run it again once that is mended\.$/m)
  assert.match(stdout, /^09_k3s_98  Be ready +[\d.]+ s$/m)
  assert.equal(files(), [])
})

test('a runbook goes to a file or to stdout, and begins nothing', async () => {
  const file = join(folder, 'runbook.md')
  assert.equal(await run('--runbook', file), { exitCode: 0, stdout: '', stderr: '' })
  const { exitCode, stdout, stderr } = await run('--runbook', '-', '--broken')
  assert.equal([exitCode, stderr], [0, ''])
  assert.match(stdout, /^# Runbook: 09_k3s_97 Make a file\n/)
  assert.is(readFileSync(file, 'utf8'), stdout)
  assert.match((await start(both, ['--runbook', '-', '--hosts', 'w-1']).ended).stdout, /^# Runbook: all scripts\n[\s\S]*\n## 09_k3s_98 {2}Be ready\n[\s\S]*On w-1:\n/)
  assert.equal([files(), existsSync(join(home, '.keybuzz'))], [[], false])
})

test('a validation has no flags to apply with, looks only, and what comes after it has the last word', async () => {
  const judge = (...argv: string[]): Promise<Said> => start(judges, argv).ended
  const { stdout: help } = await judge('--help')
  for (const flag of ['--plan', '--yes', '--force-unlock']) assert.not(help.includes(`\n  ${flag} `), flag)
  assert.match(help, /\nExit codes: 0 all holds, 1 something does not, 64 /)
  assert.is((await judge('--yes')).exitCode, 64)

  const bad = await judge()
  assert.is(bad.exitCode, 1)
  assert.match(bad.stdout, /has the file: is missing \| Hint: run 09_k3s_97, which mends it\n/)
  assert.match(bad.stdout, /^0 checks hold, 2 fail in /m)
  assert.equal([files(), existsSync(lock)], [[], false])

  for (const name of ['file-s-1', 'file-w-1']) writeFileSync(join(made, name), '')
  const good = await judge('--json')
  assert.is(good.exitCode, 0)
  assert.match(good.stderr, /^2 checks hold, none fails in .*\nafter validate of 1$/m)
  assert.is(JSON.parse(good.stdout).strict, false)
  const lost = await judge('--lost', '--json')
  assert.is(lost.exitCode, 1)
  assert.match(lost.stderr, /\nthe page cannot be written\n$/)
  assert.is(JSON.parse(lost.stdout).exitCode, 1) // what was found is there all the same
  const strict = await judge('--strict', '--json')
  assert.is(strict.exitCode, 1)
  assert.equal([JSON.parse(strict.stdout).exitCode, JSON.parse(strict.stdout).strict], [1, true])
})

test.run()
