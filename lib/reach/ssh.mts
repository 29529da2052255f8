import { createHash, randomUUID } from 'node:crypto'
import { existsSync, lstatSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { execa, ExecaError } from 'execa'
import { sshEnvironment } from '../base/environment.mts'
import { quoted } from '../base/errors.mts'
import { home } from '../base/home.mts'
import { duration, printable } from '../base/words.mts'
import type { Host } from '../input/inventory.mts'

/** What a script on a node printed, and its exit code. */
export type Result = { stdout: string; stderr: string; exitCode: number }

export type RunOptions = {
  /** Seconds until the node ends the script (default 60). */
  timeout?: number
  /** A new connection of its own, which proves that the node still lets the bastion in. */
  fresh?: boolean
  /** Ends the script, on the node too (default: the run's own signal). */
  signal?: AbortSignal
}

/** ssh to the nodes. One is made for each command line. */
export type Ssh = {
  /**
   * Runs a bash script as root on a host and returns what it printed. A script that fails is a result, not an error.
   * Throws Unreachable where the host does not answer, an Error where it answers and does not start the script, and an
   * AbortError where the run was interrupted.
   */
  run: (host: Host, script: string, options?: RunOptions) => Promise<Result>
  /** Like run, but a script that fails is an Error with the last lines that it printed. Returns its stdout. */
  capture: (host: Host, script: string, options?: RunOptions) => Promise<string>
  /**
   * Copies a file of the bastion to a path on a host as root. It replaces the old file at once, and only if its SHA-256 is
   * `sha256`. Throws where it did not arrive complete. The old file then stays.
   */
  push: (host: Host, file: string, to: Destination) => Promise<void>
  /** How many connections and commands, for the summary and the benchmark. */
  traffic: { connections: number; commands: number }
}

type Destination = { path: string; mode: string; sha256: string }

export type Connection = {
  /** Seconds until a connection times out (default 10). */
  connectTimeout?: number
  /** Default 22, which leaves it to ~/.ssh/config. */
  port?: number
  /** Ends every script that has no signal of its own. */
  signal?: AbortSignal
  /** Called with a line for what a login shell prints that no script of ours has printed, once for each text. */
  say?: (line: string) => void
}

/** The node could not be reached, or the connection was lost before the script had ended. */
export class Unreachable extends Error {
  override name = 'Unreachable'
}

// The first line on stdin says how long the script may take and how many bytes it has. The script follows, and stdin
// stays open. When it closes (ctrl-C, kill -9, a lost connection) the node ends the script by itself.
// The script reaches bash through a pipe, so `ps` never shows any of it.
// The signal goes to timeout's whole group too: just after its fork timeout dies of it and does not pass it on.
// Programs there speak English and make files as usual, whatever /etc/default/locale, a ~/.bashrc or pam_umask say.
const receiver = `exec 3<&0
export LC_ALL=C
umask 022
read -r seconds size <&3
script=$(head -c "$size" <&3)
timeout --kill-after=5 "$seconds" bash -s < <(printf "%s\\n" "$script") &
job=$!
{ cat <&3 >/dev/null; kill -TERM -"$job" "$job"; } >/dev/null 2>&1 &
watch=$!
wait "$job"; code=$?
kill "$watch" 2>/dev/null
exit "$code"`

const quote = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`

// A socket's path has at most 107 bytes, and while ssh makes it a dot and 16 letters more (openssh: mux.c, muxserver_listen).
const longestPath = 107 - 17

const hashOf = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 16)

// Where the sockets are: in ~/.keybuzz/ssh, but for a long home in /tmp. There a folder of somebody else is not taken.
const socketsFor = (uid: number): string => {
  const usual = home('ssh')
  const isShort = Buffer.byteLength(join(usual, hashOf(''))) <= longestPath
  const folder = isShort ? usual : `/tmp/keybuzz-ssh-${uid}-${hashOf(usual)}`
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const { mode, uid: owner } = lstatSync(folder)
  if (!isShort && (owner !== uid || (mode & 0o170077) !== 0o040000)) {
    throw new Error(`${folder} is not a folder of yours alone, and ssh keeps its connections there. Remove it.`)
  }
  return folder
}

const controlPath = (host: Host): string => join(socketsFor(process.getuid?.() ?? 0), hashOf(login(host)))

// Of the operator's ~/.ssh/config only that counts which is transport: keys, jumps, proxies, algorithms. The rest would run
// something else (RemoteCommand, SessionType), run it here (LocalCommand), swallow what a script reads, open ports, or take
// a host key that is not known. ssh takes the first value that it gets, and the command line comes first.
const notTransport = [
  'StrictHostKeyChecking=yes', 'VerifyHostKeyDNS=no', 'RemoteCommand=none', 'PermitLocalCommand=no', 'ClearAllForwardings=yes',
  'ForwardAgent=no', 'ForwardX11=no', 'Tunnel=no', 'SetEnv=LC_ALL=C', 'LogLevel=INFO', 'VisualHostKey=no', 'ConnectionAttempts=1'
]
// OpenSSH 8.7 has brought these; an older one refuses the names (openssh: release notes of 8.7).
const since87 = ['SessionType=default', 'StdinNull=no', 'ForkAfterAuthentication=no']

const options = async (): Promise<string[]> => {
  const { stderr } = await execa('ssh', ['-V'], { stdin: 'ignore', reject: false, timeout: 10_000, extendEnv: false, env: sshEnvironment() })
  const [, major, minor] = /OpenSSH_(\d+)\.(\d+)/.exec(stderr ?? '') ?? []
  return Number(major) * 100 + Number(minor) >= 807 ? [...notTransport, ...since87] : notTransport
}

/** Where to log in: root@10.0.0.100. */
export const login = ({ user, address }: Host): string => `${user}@${address}`

// A group of its own: under nohup a terminal that closes must not end it.
const apart = () => ({ extendEnv: false, env: sshEnvironment(), detached: true })

// Seconds until a file is given up: 300 MB take a minute over 40 Mbit/s.
const pushing = 1800

const asRoot = (host: Host, command: string): string => (host.user === 'root' ? command : `sudo -n ${command}`)

// What ssh itself says, among what a banner says.
const saysWhy = /^(ssh: |Received disconnect|Host key verification failed|No .* host key is known|.*: Permission denied|Timeout, server|Connection timed out|Unable to negotiate|kex_exchange|banner exchange|.*Bad configuration|No user exists)/
const saysLittle = /^(Disconnected from|Connection (closed|reset) by|client_loop:|@+$)/

/** The reason in what a failed ssh printed: its own words, or else the last ones of the banner, as of a machine that boots. */
export const reasonOf = (stderr: string): string => {
  const lines = stderr.split('\n').map((line) => line.trim()).filter(Boolean)
  const own = lines.filter((line) => saysWhy.test(line))
  if (own.length > 0) return own.slice(-2).join(' ')
  return [...lines.filter((line) => !saysLittle.test(line)).slice(-2), ...lines.filter((line) => saysLittle.test(line)).slice(-1)].join(' ')
    || 'the connection broke'
}

const hintFor = (host: Host, why: string): string => {
  const where = login(host)
  if (/Too many authentication failures/.test(why)) {
    return `the agent has more keys than sshd lets try. Name the one of ${host.address} in ~/.ssh/config: IdentityFile, and IdentitiesOnly yes`
  }
  if (/host key/i.test(why)) {
    return `compare the key: ssh -o StrictHostKeyChecking=ask ${where}. Of another machine than before: ssh-keygen -R ${host.address} first. `
      + 'With UserKnownHostsFile /dev/null in ~/.ssh/config no key is ever known'
  }
  return `ssh -v ${where}`
}

const unreachable = (host: Host, stderr: string): Unreachable => {
  const why = printable(reasonOf(stderr))
  return new Unreachable(`unreachable: ssh ${login(host)} exit 255\n${why}  Hint: ${hintFor(host, why)}`)
}

/** Makes the ssh to the nodes. See Ssh. */
export const createSsh = ({ connectTimeout = 10, port = 22, signal: whole, say = () => {} }: Connection = {}): Ssh => {
  const traffic = { connections: 0, commands: 0 }
  const heard = new Set<string>()

  // A login shell may print before the script does: bash reads ~/.bashrc when sshd starts it, and $BASH_ENV each time
  // (ansible/ansible#15337). So the script itself prints a mark first, on stdout and on stderr, that nobody else knows.
  const mark = `keybuzz-${randomUUID()}`
  const afterMark = (text: string): string | undefined => {
    const at = text.indexOf(`${mark}\n`)
    return at === -1 ? undefined : text.slice(at + mark.length + 1)
  }
  const tellNoise = (host: Host, stdout: string): void => {
    const noise = stdout.slice(0, stdout.indexOf(mark)).trim()
    if (noise === '' || heard.has(noise)) return
    heard.add(noise)
    say(`${host.name} prints ${quoted(noise)} before each command; it is left out. Hint: let ~/.bashrc of ${host.user} print `
      + 'only where the shell is interactive')
  }

  let asked: Promise<string[]> | undefined

  // BatchMode: a password question would block a run at night.
  const sshArguments = async (host: Host, fresh: boolean): Promise<string[]> => {
    const shut = await (asked ??= options())
    const path = controlPath(host)
    if (fresh || !existsSync(path)) traffic.connections++
    return [
      '-T',
      ...(port === 22 ? [] : [`-p${port}`]),
      ...['BatchMode=yes', `ConnectTimeout=${connectTimeout}`, 'ServerAliveInterval=5', 'ServerAliveCountMax=3', ...shut],
      ...(fresh
        ? ['ControlMaster=no', 'ControlPath=none']
        : ['ControlMaster=auto', `ControlPath=${path}`, 'ControlPersist=60'])
    ].flatMap((word) => (word.startsWith('-') ? [word] : ['-o', word])).concat(login(host))
  }

  const run: Ssh['run'] = async (host, script, { timeout = 60, fresh = false, signal = whole } = {}) => {
    signal?.throwIfAborted()
    traffic.commands++
    const body = Buffer.from(`echo ${mark}; echo ${mark} >&2\nmain() {\nset -euo pipefail\n${script}\n}\nmain </dev/null\n`)
    const ssh = execa('ssh', [...await sshArguments(host, fresh), asRoot(host, `bash -c ${quote(receiver)}`)], {
      ...apart(),
      stdin: 'pipe',
      reject: false,
      stripFinalNewline: false,
      timeout: (timeout + connectTimeout + 10) * 1000,
      maxBuffer: 64 * 1024 * 1024,
      ...(signal ? { cancelSignal: signal } : {})
    })
    ssh.stdin.on('error', () => {}) // the node was lost before it had read all: ssh's exit code says so
    ssh.stdin.write(Buffer.concat([Buffer.from(`${timeout} ${body.length}\n`), body]))
    const result = await ssh
    signal?.throwIfAborted()
    if (result.exitCode === undefined || result.exitCode === 255) throw unreachable(host, afterMark(result.stderr) ?? result.stderr)
    const { exitCode } = result
    const stdout = afterMark(result.stdout)
    if (stdout === undefined) {
      throw new Error(`ssh ${login(host)} did not start the script\n${lastWords({ stdout: '', stderr: `${result.stderr}\n${result.stdout}`, exitCode })}`)
    }
    tellNoise(host, result.stdout)
    const late = exitCode === 124 ? `\ntook longer than ${timeout} s and was ended` : ''
    return { stdout, stderr: (afterMark(result.stderr) ?? result.stderr) + late, exitCode }
  }

  const capture: Ssh['capture'] = async (host, script, options) => {
    const result = await run(host, script, options)
    if (result.exitCode === 0) return result.stdout
    throw new Error(lastWords(result))
  }

  const push: Ssh['push'] = async (host, file, { path, mode, sha256 }) => {
    const receive = `set -e
umask 022
echo ${mark} >&2
mkdir -p "$(dirname ${path})"
trap 'rm -f ${path}.part' EXIT
cat > ${path}.part
echo '${sha256}  ${path}.part' | sha256sum --check --quiet
chmod ${mode} ${path}.part
mv ${path}.part ${path}`
    traffic.commands++
    try {
      await execa('ssh', [...await sshArguments(host, false), asRoot(host, `bash -c ${quote(receive)}`)], {
        ...apart(),
        inputFile: file,
        timeout: pushing * 1000,
        ...(whole ? { cancelSignal: whole } : {})
      })
    } catch (error) {
      whole?.throwIfAborted()
      if (!(error instanceof ExecaError)) throw error
      if (error.timedOut) throw new Error(`${file} was not on ${host.name} after ${duration(pushing)}`)
      if (error.exitCode === undefined || error.exitCode === 255) throw unreachable(host, String(error.stderr))
      const stderr = String(error.stderr)
      throw new Error(`${file} did not arrive whole as ${path}\n${(afterMark(stderr) ?? stderr).trim()}`)
    }
  }

  return { run, capture, push, traffic }
}

/** The last lines that a failed script printed, and its exit code, for a message. */
export const lastWords = ({ stdout, stderr, exitCode }: Result): string =>
  printable([...(stderr.trim() || stdout.trim()).split('\n').slice(-6), `exit ${exitCode}`].filter(Boolean).join('\n'))
