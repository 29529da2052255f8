import { execFile } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { dropVariables, hasColour, local, plainEnvironment, sshEnvironment } from '../../../lib/base/environment.mts'
import { eventually } from '../../support/eventually.mts'

const folder = mkdtempSync(join(tmpdir(), 'keybuzz-environment-'))
test.after(() => rmSync(folder, { recursive: true }))
const module = join(import.meta.dirname, '../../../lib/base/environment.mts')

const withVariables = async <Value,>(variables: Record<string, string>, use: () => Value | Promise<Value>): Promise<Value> => {
  const before = { ...process.env }
  Object.assign(process.env, variables)
  try {
    return await use()
  } finally {
    for (const name of Object.keys(variables)) {
      if (before[name] === undefined) delete process.env[name]
      else process.env[name] = before[name]
    }
  }
}

// Each of these changes what a command of ours means, or where its requests go.
const strange = {
  KUBECTL_EXTERNAL_DIFF: 'true', KUBECONFIG: '/nowhere', KUBERNETES_MASTER: 'http://127.0.0.1:1', POD_NAMESPACE: 'theirs',
  KUBECTL_APPLYSET: 'true', KUBECACHEDIR: '/nowhere', KUBE_FEATURE_WatchListClient: 'true', KUBERC: '/theirs', KUBECTL_KUBERC: 'true',
  HTTPS_PROXY: 'http://proxy:3128', https_proxy: 'http://proxy:3128', ALL_PROXY: 'socks5://proxy', K3S_DATA_DIR: '/nowhere',
  K3S_TOKEN: 'hidden', HCLOUD_TOKEN: 'hidden', VAULT_TOKEN: 'hidden', KEYBUZZ_N8N_POSTGRES_PASSWORD: 'hidden', TAR_OPTIONS: '--verbose', OPENSSL_CONF: '/nowhere', GIT_DIR: '/nowhere', CDPATH: '/',
  BASH_ENV: '/nowhere', 'BASH_FUNC_tar%%': '() { echo theirs; }', LANG: 'fr_FR.UTF-8', LC_ALL: 'fr_FR.UTF-8', LANGUAGE: 'fr', TERM: 'dumb'
}

test('a program of this machine gets where programs are and who runs it, and nothing else of the operator', async () => {
  const given = await withVariables({ ...strange, TZ: 'UTC' }, plainEnvironment)
  assert.equal([given['PATH'], given['HOME'], given['TZ']], [process.env['PATH'], process.env['HOME'], 'UTC'])
  assert.equal([given['LC_ALL'], given['KUBECTL_KUBERC'], given['KUBERC']], ['C', 'false', 'off'])
  const ours = ['PATH', 'HOME', 'USER', 'LOGNAME', 'TMPDIR', 'TZ', 'LC_ALL', 'KUBECTL_KUBERC', 'KUBERC']
  assert.equal(Object.keys(given).filter((name) => !ours.includes(name)), [])
})

test('ssh gets what a ProxyCommand or an agent may need, and nothing that is for programs on a node', async () => {
  const given = await withVariables({ ...strange, SSH_AUTH_SOCK: '/agent', AWS_PROFILE: 'gate' }, sshEnvironment)
  assert.equal([given['SSH_AUTH_SOCK'], given['AWS_PROFILE'], given['HTTPS_PROXY'], given['LC_ALL']], ['/agent', 'gate', 'http://proxy:3128', 'C'])
  assert.equal(Object.keys(given).filter((name) => /^(KUBE|K3S|HCLOUD|KEYBUZZ|BASH|LANG|LC_(?!ALL))/.test(name)), [])
  assert.not.match(JSON.stringify(given), /hidden/)
})

test('a program that reads stdin ends where there is nothing to read', async () => {
  assert.is((await local({ seconds: 30 })`cat`).stdout, '')
  assert.is((await local({ seconds: 30, input: 'words\n' })`cat`).stdout, 'words\n')
  // More than a pipe holds, to a program that ends before it has read it.
  const { exitCode } = await local({ seconds: 30, input: 'words\n'.repeat(1_000_000), nothrow: true })`exec <&-; sleep 0.2; exit 3`
  assert.is(exitCode, 3)
})

test('a program that takes too long is ended, with what it has started', async () => {
  const file = join(folder, 'pid')
  const { exitCode } = await local({ seconds: 2, nothrow: true })`sleep 60 & echo $! > ${file}; wait`
  assert.is.not(exitCode, 0)
  const pid = readFileSync(file, 'utf8').trim()
  await eventually('what it has started has ended', () => !existsSync(`/proc/${pid}`))
})

test('no variable of zx changes a command', async () => {
  const script = `import { local } from '${module}'
console.log((await local()\`echo \${'a b'}; pwd\`).stdout)`
  const env = { ...process.env, ...strange, ZX_PREFIX: 'echo theirs;', ZX_POSTFIX: '; echo theirs', ZX_SHELL: '/bin/false', ZX_VERBOSE: 'true', ZX_TIMEOUT: '1ms' }
  delete (env as Record<string, string>)['BASH_ENV']
  const { stdout, stderr } = await run(script, env)
  assert.equal([stdout, stderr], [`a b\n${process.cwd()}\n\n`, ''])
})

test('a terminal that says so gets no colour', async () => {
  assert.is(await withVariables({ TERM: 'xterm', NO_COLOR: '' }, () => hasColour({ isTTY: true })), true)
  assert.is(await withVariables({ TERM: 'dumb' }, () => hasColour({ isTTY: true })), false)
  assert.is(await withVariables({ TERM: 'xterm', NO_COLOR: '1' }, () => hasColour({ isTTY: true })), false)
  assert.is(hasColour({}), false)
})

const run = (script: string, env: NodeJS.ProcessEnv) =>
  promisify(execFile)(process.execPath, ['--input-type=module-typescript', '-e', script], { env })

const listen = async (server: Server): Promise<number> => {
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  return (server.address() as AddressInfo).port
}

test('downloads go through the proxy, but for private addresses and NO_PROXY', async () => {
  const seen: string[] = []
  const proxy = createServer((request, response) => {
    seen.push(`${request.method} ${request.url}`)
    response.end('through the proxy')
  })
  proxy.on('connect', ({ url }, socket) => {
    seen.push(`CONNECT ${url}`)
    socket.end('HTTP/1.1 403 Forbidden\r\n\r\n')
  })
  const direct = createServer((_, response) => response.end('direct'))
  const [port, other] = [await listen(proxy), await listen(direct)]
  try {
    const mirror = `http://127.0.0.1:${other}/`
    const script = `import { useProxy } from '${module}'
useProxy(['${mirror}'])
const get = (url) => fetch(url).then((answer) => answer.text(), (error) => 'refused')
console.log(JSON.stringify([await get('${mirror}'), await get('http://localhost:${other}/'), await get('https://files.invalid/k3s')]))`
    const env = { ...process.env, HTTPS_PROXY: `http://127.0.0.1:${port}`, HTTP_PROXY: `http://127.0.0.1:${port}`, NO_PROXY: 'localhost', no_proxy: 'localhost' }
    for (const more of [{}, { NODE_USE_ENV_PROXY: '1' }]) {
      const { stdout } = await run(script, { ...env, ...more })
      assert.equal(JSON.parse(stdout), ['direct', 'direct', 'refused'])
    }
    assert.equal(seen, ['CONNECT files.invalid:443', 'CONNECT files.invalid:443'])
  } finally {
    proxy.close()
    direct.close()
  }
})

test('variables that a library would read are taken out of this process, and no others', () => {
  Object.assign(process.env, { PGOPTIONS: 'x', PGCLIENT_ENCODING: 'x', XPG: 'x' })
  dropVariables(/^PG[A-Z_]+$/)
  assert.equal(['PGOPTIONS', 'PGCLIENT_ENCODING', 'XPG'].filter((name) => name in process.env), ['XPG'])
  delete process.env['XPG']
})

test.run()
