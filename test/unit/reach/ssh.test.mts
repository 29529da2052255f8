import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { eventually } from '../../support/eventually.mts'
import { useFakeSsh } from '../../support/fake-ssh.mts'
import { hostOf } from '../../support/hosts.mts'

const realSsh = process.env['PATH']!.split(delimiter).map((folder) => join(folder, 'ssh')).find((file) => existsSync(file))!
const folder = useFakeSsh()
const { createSsh, lastWords, login, reasonOf, Unreachable } = await import('../../../lib/reach/ssh.mts')

const a = hostOf('a')
const dead = hostOf('dead', { address: '192.0.2.255' })
const ssh = createSsh()

let files = 0
const newFile = (): string => join(folder, `file-${files++}`)
const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex')
const failureOf = async (promise: Promise<unknown>): Promise<Error> =>
  promise.then(() => new Error('it did not fail'), (error: Error) => error)

/** Begins a script on the node, interrupts it, and says whether its process is gone then. */
const endsInterrupted = async (): Promise<boolean> => {
  const file = newFile()
  const interrupt = new AbortController()
  const failure = failureOf(ssh.run(a, `echo $$ > ${file}.part; mv ${file}.part ${file}; exec sleep 1000`, { signal: interrupt.signal }))
  await eventually('the script has begun', () => existsSync(file))
  const pid = Number(readFileSync(file, 'utf8'))
  interrupt.abort()
  const isGone = await eventually('the script has ended', () => !existsSync(`/proc/${pid}`)).then(() => true, () => false)
  if (!isGone) process.kill(pid)
  assert.is((await failure).name, 'AbortError')
  return isGone
}

test('an interrupted script leaves nothing running on the node', async () => {
  assert.ok(await endsInterrupted())
})

test('an interrupted script ends also where timeout does not pass the signal on', async () => {
  const bin = join(folder, 'bin')
  mkdirSync(bin)
  // As timeout is in the moment after its fork.
  writeFileSync(join(bin, 'timeout'), `#!/bin/sh
shift 2
exec perl -e 'setpgrp; exec @ARGV if !fork; sleep 60' "$@"
`, { mode: 0o755 })
  const path = process.env['PATH']!
  process.env['PATH'] = `${bin}${delimiter}${path}`
  try {
    assert.ok(await endsInterrupted())
  } finally {
    process.env['PATH'] = path
  }
})

test('a script that takes too long is ended by the node, and says so', async () => {
  const { exitCode, stderr } = await ssh.run(a, 'sleep 1000', { timeout: 1 })
  assert.is(exitCode, 124)
  assert.match(stderr, /took longer than 1 s and was ended/)
})

test('nothing of a script is seen in the list of processes', async () => {
  const { stdout } = await ssh.run(a, `secret=hunter2-in-the-script; ps axww -o args | grep -c 'hunter2-in-[t]he-script' || true`)
  assert.is(stdout.trim(), '0')
})

test('a node that does not answer is Unreachable, a script that fails is a result', async () => {
  assert.is((await ssh.run(a, 'exit 7')).exitCode, 7)
  const error = await failureOf(ssh.run(dead, 'true'))
  assert.instance(error, Unreachable)
  assert.match(error.message, /^unreachable: ssh root@192\.0\.2\.255 exit 255\n.*Connection timed out  Hint: ssh -v root@192\.0\.2\.255$/)
})

test('capture returns what was printed, and throws the last words of a script that fails', async () => {
  assert.is(await ssh.capture(a, 'printf "one\\ntwo\\n"; echo aside >&2'), 'one\ntwo\n')
  assert.is((await failureOf(ssh.capture(a, 'echo shown; echo why >&2; exit 3'))).message, 'why\nexit 3')
  assert.is(lastWords({ stdout: '1\n2\n3\n4\n5\n6\n7\n', stderr: ' ', exitCode: 1 }), '2\n3\n4\n5\n6\n7\nexit 1')
})

test('a script stops at its first error, and has nothing to read', async () => {
  const { stdout, exitCode } = await ssh.run(a, 'cat; false; echo never')
  assert.equal([stdout, exitCode], ['', 1])
})

test('each way to the nodes counts its own traffic', async () => {
  const [one, other] = [createSsh(), createSsh()]
  await one.run(a, 'true')
  await one.run(a, 'true')
  await failureOf(one.run(dead, 'true'))
  await other.run(a, 'true')
  assert.equal([one.traffic, other.traffic], [{ connections: 3, commands: 3 }, { connections: 1, commands: 1 }])
})

test('the signal of one way to the nodes does not end another, and a signal of its own goes before', async () => {
  const interrupt = new AbortController()
  const one = createSsh({ signal: interrupt.signal })
  const running = one.run(a, 'sleep 1000')
  interrupt.abort()
  assert.is((await failureOf(running)).name, 'AbortError')
  assert.is((await failureOf(one.run(a, 'true'))).name, 'AbortError')
  assert.is((await failureOf(one.push(a, '/dev/null', { path: newFile(), mode: '0600', sha256: sha256('') }))).name, 'AbortError')
  assert.is((await one.run(a, 'true', { signal: new AbortController().signal })).exitCode, 0)
  assert.is((await createSsh().run(a, 'true')).exitCode, 0)
})

test('ssh asks nothing, keeps to the port and the time that were given, and shares a connection but for a fresh one', async () => {
  const asked = (options: Parameters<typeof createSsh>[0], fresh: boolean): Promise<string> =>
    createSsh(options).capture(a, 'echo "$FAKE_SSH"', { fresh })
  const shared = await asked({}, false)
  assert.match(shared, /^-T -o BatchMode=yes -o ConnectTimeout=10 .* -o ControlMaster=auto -o ControlPath=\S+ -o ControlPersist=60 root@192\.0\.2\.1\n$/)
  const own = await asked({ port: 2222, connectTimeout: 3 }, true)
  assert.match(own, /^-T -p2222 -o BatchMode=yes -o ConnectTimeout=3 .* -o ControlMaster=no -o ControlPath=none root@192\.0\.2\.1\n$/)
})

test('a file that is pushed is there with its mode, in a folder that is made for it', async () => {
  const file = newFile()
  writeFileSync(file, 'whole\n')
  const path = join(folder, 'deep/er/file')
  await ssh.push(a, file, { path, mode: '0751', sha256: sha256('whole\n') })
  assert.is(readFileSync(path, 'utf8'), 'whole\n')
  assert.is(statSync(path).mode & 0o777, 0o751)
})

test('what does not arrive whole changes nothing', async () => {
  const [file, path] = [newFile(), newFile()]
  writeFileSync(file, 'half')
  writeFileSync(path, 'before')
  const error = await failureOf(ssh.push(a, file, { path, mode: '0600', sha256: sha256('whole') }))
  assert.ok(error.message.startsWith(`${file} did not arrive whole as ${path}\n`), error.message)
  assert.is(readFileSync(path, 'utf8'), 'before')
  assert.not(existsSync(`${path}.part`))
  assert.instance(await failureOf(ssh.push(dead, file, { path, mode: '0600', sha256: sha256('half') })), Unreachable)
})

/** What bash reads before each script, as a login shell or its environment makes it do. */
const withLoginShell = async (text: string, use: () => Promise<void>): Promise<void> => {
  const file = newFile()
  writeFileSync(file, text)
  process.env['FAKE_LOGIN'] = file
  await use().finally(() => delete process.env['FAKE_LOGIN'])
}

test('what a login shell prints is never taken for what the script has printed, and is said once', async () => {
  const said: string[] = []
  const own = createSsh({ say: (line) => said.push(line) })
  await withLoginShell('echo "= Welcome to a"; printf "\\e]0;no line break"; echo noise >&2', async () => {
    assert.is(await own.capture(a, 'echo one'), 'one\n')
    assert.is(await own.capture(a, 'true'), '')
    assert.equal(await own.run(a, 'echo aside >&2; exit 3'), { stdout: '', stderr: 'aside\n', exitCode: 3 })
    assert.is((await failureOf(own.capture(hostOf('b'), 'exit 3'))).message, 'exit 3')
    const error = await failureOf(own.push(a, '/dev/null', { path: newFile(), mode: '0600', sha256: sha256('more') }))
    assert.not.match(error.message, /noise/)
  })
  assert.is(said.length, 1, said.join('\n'))
  assert.match(said[0]!, /^a prints "= Welcome to a\\n.*" before each command; it is left out\. Hint: .*bashrc of root/)
  assert.not.match(said[0]!, /[\x00-\x1f]/)
})

test('a host that answers and does not start the script is an error, and no empty answer', async () => {
  for (const [text, words] of [['echo "This account is not available."; exit 1', 'This account is not available.\nexit 1'], ['exit 0', 'exit 0'],
    ['echo Authorised users only >&2; echo "This account is not available."; exit 1', 'Authorised users only\nThis account is not available.\nexit 1']]) {
    await withLoginShell(text!, async () => {
      const error = await failureOf(ssh.run(a, 'echo one'))
      assert.is(error.message, `ssh root@192.0.2.1 did not start the script\n${words}`)
      assert.not.instance(error, Unreachable)
    })
  }
})

test('of ~/.ssh/config only what is transport counts', async () => {
  const config = join(folder, 'config')
  writeFileSync(config, `Host *
  StrictHostKeyChecking no
  VerifyHostKeyDNS yes
  PermitLocalCommand yes
  LocalCommand echo local
  RemoteCommand tmux attach
  RequestTTY force
  SessionType none
  StdinNull yes
  ForkAfterAuthentication yes
  LocalForward 8080 localhost:80
  ForwardAgent yes
  ForwardX11 yes
  LogLevel QUIET
  BatchMode no
  ControlPath ~/theirs
  SetEnv LC_ALL=fr_FR.UTF-8
  IdentityFile ~/.ssh/keybuzz
  ProxyJump gate
`)
  const asked = (await createSsh().capture(a, 'echo "$FAKE_SSH"')).trim().split(' ')
  const is = execFileSync(realSsh, ['-G', '-F', config, ...asked], { encoding: 'utf8' }).split('\n')
  const wanted = [
    'stricthostkeychecking true', 'verifyhostkeydns false', 'permitlocalcommand no', 'requesttty false', 'sessiontype default', 'stdinnull no',
    'forkafterauthentication no', 'clearallforwardings yes', 'forwardagent no', 'forwardx11 no', 'loglevel INFO', 'batchmode yes',
    'setenv LC_ALL=C', 'identityfile ~/.ssh/keybuzz', 'proxyjump gate'
  ]
  assert.equal(wanted.filter((line) => !is.includes(line)), [])
  assert.not(is.some((line) => /^(remotecommand|localforward|setenv LC_ALL=fr)|theirs/.test(line)), is.join('\n'))
})

test('an old ssh is not given options that it does not know', async () => {
  const old = join(folder, 'old')
  mkdirSync(old)
  writeFileSync(join(old, 'ssh'), `#!/bin/bash\nif [[ $1 == -V ]]; then echo "OpenSSH_8.4p1 Debian" >&2; else exec ${folder}/ssh "$@"; fi\n`, { mode: 0o755 })
  const path = process.env['PATH']
  process.env['PATH'] = `${old}${delimiter}${path}`
  const asked = await createSsh().capture(a, 'echo "$FAKE_SSH"').finally(() => (process.env['PATH'] = path))
  assert.match(asked, / RemoteCommand=none /)
  assert.not.match(asked, /SessionType|StdinNull|ForkAfter/)
})

test('a node speaks English and makes files as usual, and gets nothing of the operator', async () => {
  const strange = { LANG: 'fr_FR.UTF-8', LC_MESSAGES: 'fr_FR.UTF-8', K3S_TOKEN: 'hidden', KUBECONFIG: '/nowhere', HCLOUD_TOKEN: 'hidden' }
  Object.assign(process.env, strange)
  const umask = process.umask(0o077)
  const given = await createSsh().capture(a, 'env; umask')
  process.umask(umask)
  Object.keys(strange).forEach((name) => delete process.env[name])
  assert.match(given, /^LC_ALL=C$/m)
  assert.match(given, /^0022$/m)
  assert.not.match(given, /fr_FR|hidden|nowhere/)
})

test('a home that is too long for a socket does not matter, and a folder of somebody else is not used', () => {
  const long = join(folder, 'a'.repeat(80))
  const script = `import { createSsh } from '${join(import.meta.dirname, '../../../lib/reach/ssh.mts')}'
const host = { user: 'root', address: '192.0.2.1', name: 'a' }
console.log(await createSsh().capture(host, 'echo "$FAKE_SSH"').catch((error) => error.message))`
  const ask = () => execFileSync(process.execPath, ['--input-type=module-typescript', '-e', script], { encoding: 'utf8', env: { ...process.env, HOME: long } })
  const path = /ControlPath=(\S+)/.exec(ask())?.[1] ?? ''
  assert.match(path, /^\/tmp\/keybuzz-ssh-\d+-[0-9a-f]{16}\/[0-9a-f]{16}$/)
  const sockets = join(path, '..')
  assert.is(statSync(sockets).mode & 0o777, 0o700)
  rmSync(sockets, { recursive: true })
  symlinkSync(folder, sockets)
  assert.match(ask(), new RegExp(`^${sockets} is not a folder of yours alone`))
  rmSync(sockets)
})

const banner = 'Authorised users only.\nAll is logged.\n'

test('why a host is unreachable is found among what else ssh prints', () => {
  const many = 'Received disconnect from 10.0.0.100 port 22:2: Too many authentication failures'
  assert.is(reasonOf(`${banner}${many}\nDisconnected from 10.0.0.100 port 22\n`), many)
  assert.is(reasonOf(`root@10.0.0.100: Permission denied (publickey).\n${banner}`), 'root@10.0.0.100: Permission denied (publickey).')
  assert.is(reasonOf('System is booting up.\nConnection closed by 10.0.0.100 port 22\n'), 'System is booting up. Connection closed by 10.0.0.100 port 22')
  assert.is(reasonOf('Connection closed by 10.0.0.100 port 22\n'), 'Connection closed by 10.0.0.100 port 22')
  assert.is(reasonOf(''), 'the connection broke')
})

test('the hint is about the reason: too many keys, a key that is unknown or another', async () => {
  const fault = newFile()
  process.env['FAKE_FAULT'] = fault
  const far = hostOf('far', { address: '192.0.2.254' })
  writeFileSync(fault, `${banner}Received disconnect from 192.0.2.254 port 22:2: Too many authentication failures\nDisconnected from 192.0.2.254 port 22\n`)
  assert.match((await failureOf(ssh.run(far, 'true'))).message, /Too many authentication failures {2}Hint: .*IdentitiesOnly yes$/)
  writeFileSync(fault, 'Host key for 192.0.2.254 has changed and you have requested strict checking.\nHost key verification failed.\n')
  assert.match((await failureOf(ssh.run(far, 'true'))).message, /Host key verification failed\. {2}Hint: compare the key: .*ssh-keygen -R 192\.0\.2\.254/)
})

test('where to log in', () => {
  assert.is(login(hostOf('a', { user: 'ops', address: '10.0.0.100' })), 'ops@10.0.0.100')
})

test.run()
