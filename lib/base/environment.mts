// What this machine gives to a run. An operator's environment is full of things that change what a command means
// (KUBECTL_EXTERNAL_DIFF, a kuberc, TAR_OPTIONS, a proxy, a French locale). Here is decided what counts of it.
import { spawn } from 'node:child_process'
import * as http from 'node:http'
import { homedir } from 'node:os'
import { $ } from 'zx'

type Environment = Record<string, string>

const given = (keep: (name: string) => boolean): Environment =>
  Object.fromEntries(Object.entries(process.env).flatMap(([name, value]) =>
    value === undefined || !keep(name) ? [] : [[name, value]]))

/** The home of who runs this, or '' where there is none. */
export const homeFolder = (): string => {
  try {
    return homedir()
  } catch {
    return '' // no HOME, and the user is not in /etc/passwd
  }
}

const kept = ['PATH', 'HOME', 'USER', 'LOGNAME', 'TMPDIR', 'TZ']

/**
 * What programs of this machine get: where they are, who runs them, and nothing else. kubectl reads 20 variables, k3s and
 * openssl more. A proxy would send kubectl's requests to private addresses to the outside.
 */
export const plainEnvironment = (): Environment => ({
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  ...given((name) => kept.includes(name)),
  LC_ALL: 'C',
  // kubectl's own two switches against ~/.kube/kuberc (kubectl: pkg/cmd/util/helpers.go, pkg/kuberc/kuberc.go).
  KUBECTL_KUBERC: 'false',
  KUBERC: 'off'
})

// ssh offers the locale to the nodes (SendEnv LANG LC_* is Debian's default), and all the rest where a configuration says so.
const notForNodes = /^(LANG|LANGUAGE|LC_\w+|BASH_ENV|ENV|BASH_FUNC_.*|K3S_\w+|KEYBUZZ_\w+|KUBE\w+|HCLOUD_\w+|VAULT_\w+|ZX_\w+|NODE_\w+|SSH_ASKPASS\w*)$/

/** What ssh gets: all that a ProxyCommand or an agent may need, and nothing that could change what a node prints. */
export const sshEnvironment = (): Environment => ({ ...given((name) => !notForNodes.test(name)), LC_ALL: 'C' })

export type LocalOptions = {
  /** What goes to its stdin. Without it stdin is empty and ends: zx would leave it open. */
  input?: string
  /** The caller writes to its stdin, and ends it. */
  writes?: boolean
  /** Seconds until it is ended (default 60). */
  seconds?: number
  /** Ends it. */
  signal?: AbortSignal | undefined
  /** A failure is a result, not an error. */
  nothrow?: boolean
}

// A program may end before it has read all of its input, such as kubectl that is refused. Its exit code says what came of it.
const unread: typeof spawn = ((...started: Parameters<typeof spawn>) => {
  const child = spawn(...started)
  child.stdin?.on('error', () => {})
  return child
}) as typeof spawn

/**
 * zx's `$` for a program of this machine: with the plain environment, a deadline, and a group of its own, so that a closed
 * terminal does not end it under nohup. Says all that ZX_... variables could say otherwise.
 */
export const local = ({ input = '', writes = false, seconds = 60, signal, nothrow = false }: LocalOptions = {}) => {
  // zx's own timeout calls ps in a way that Node warns of, and knows whole seconds only.
  const late = AbortSignal.timeout(Math.ceil(seconds * 1000))
  return $({
    env: plainEnvironment(),
    ...(input === '' && !writes ? { stdio: ['ignore', 'pipe', 'pipe'] } : { input, stdio: 'pipe' }),
    signal: signal ? AbortSignal.any([signal, late]) : late,
    spawn: unread,
    nothrow, quiet: true, verbose: false, detached: true, preferLocal: false,
    cwd: process.cwd(), shell: 'bash', prefix: 'set -euo pipefail;', postfix: '', killSignal: 'SIGTERM', timeout: 0
  })
}

// 10/8, 172.16/12, 192.168/16, 100.64/10, loopback, link-local.
const privateHost = /^(localhost$|10\.|127\.|192\.168\.|169\.254\.|172\.(1[6-9]|2\d|3[01])\.|100\.(6[4-9]|[7-9]\d|1[01]\d|12[0-7])\.)/

/**
 * Sends downloads through the proxy of HTTPS_PROXY and HTTP_PROXY, but for the hosts of NO_PROXY and those of `urls` that are
 * private addresses. Node 24.14 or later can be told here; earlier ones when they start (NODE_USE_ENV_PROXY=1).
 */
export const useProxy = (urls: string[]): void => {
  const name = (variable: string): string | undefined => process.env[variable.toLowerCase()] || process.env[variable]
  const [secure, plain] = [name('HTTPS_PROXY'), name('HTTP_PROXY')]
  if (secure === undefined && plain === undefined) return
  const direct = urls.map((url) => URL.parse(url)?.hostname ?? '').filter((host) => privateHost.test(host))
  process.env['NO_PROXY'] = process.env['no_proxy'] = [name('NO_PROXY') ?? '', ...direct].filter(Boolean).join(',')
  http.setGlobalProxyFromEnv?.()
}

/** True where text on the stream may be coloured. */
export const hasColour = ({ isTTY }: { isTTY?: boolean }): boolean =>
  isTTY === true && !process.env['NO_COLOR'] && process.env['TERM'] !== 'dumb'

/** Takes variables out of this process, for a library that reads them where nobody asks it to. */
export const dropVariables = (names: RegExp): void => {
  for (const name of Object.keys(process.env).filter((one) => names.test(one))) delete process.env[name]
}
