import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { $ } from 'zx'
import { until } from '../../lib/base/wait.mts'
import { defaultSettings } from '../../lib/input/settings.mts'
import { vaultApps } from '../../lib/input/schema/vault.mts'
import { policyLines, rightsFor } from '../../lib/vault/rights.mts'
import { bastion, vault } from './containers.mts'
import type { Docker, Engine } from './engine.mts'
import { capture } from './exec.mts'
import { cache } from './place.mts'
import type { Given } from './recipe.mts'
import { adminSecrets, vaultToken } from './secrets.mts'

const folder = join(cache, 'vault')

/** The program, which vault-01 has at /opt/vault. */
export const vaultFolder = join(folder, 'bin')

const tlsFolder = join(folder, 'tls')

/** The keys that unseal it and its first token, as `vault operator init` gives them to the operators. */
const keysFile = join(folder, 'keys.json')

/**
 * Makes a certificate authority and what it signs for Vault, once: whoever trusts it may keep it. The authority's key stays,
 * for a test that wants another certificate.
 */
const ensureTls = async (): Promise<void> => {
  if (await stat(tlsFolder).then(() => true, () => false)) return
  const work = `${tlsFolder}.new`
  await rm(work, { recursive: true, force: true })
  await mkdir(work, { recursive: true, mode: 0o700 })
  const names = ['IP:10.0.0.150', 'IP:127.0.0.1', 'DNS:localhost', 'DNS:vault-01', 'DNS:vault.keybuzz.io']
  await writeFile(join(work, 'extensions'), `subjectAltName=${names.join(',')}\nextendedKeyUsage=serverAuth\n`)
  const inside = $({ quiet: true, cwd: work })
  await inside`openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj ${"/CN=the lab's Vault"} -keyout ca.key -out ca.pem`
  await inside`openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=vault-01 -keyout key.pem -out request`
  await inside`openssl x509 -req -in request -CA ca.pem -CAkey ca.key -CAcreateserial -days 3650 -extfile extensions -out cert.pem`
  await rename(work, tlsFolder)
}

/** What vault-01 has of its own, and the certificate of its authority, which the bastion has at /etc/keybuzz-lab. */
export const vaultFiles = async (): Promise<Given[]> => {
  await ensureTls()
  const [ca, cert, key] = await Promise.all(['ca.pem', 'cert.pem', 'key.pem'].map((name) => readFile(join(tlsFolder, name), 'utf8')))
  const machine = join(import.meta.dirname, 'vault/machine')
  const names = (await readdir(machine, { recursive: true, withFileTypes: true })).filter((one) => one.isFile())
  const own = await Promise.all(names.map(async ({ parentPath, name }) => {
    const file = join(parentPath, name)
    return { content: await readFile(file, 'utf8'), target: file.slice(machine.length), mode: (await stat(file)).mode & 0o777 }
  }))
  return [
    ...[
      ...own.toSorted((a, b) => a.target.localeCompare(b.target)),
      { content: ca!, target: '/etc/vault.d/ca.pem', mode: 0o644 },
      { content: cert!, target: '/etc/vault.d/cert.pem', mode: 0o644 },
      { content: key!, target: '/etc/vault.d/key.pem', mode: 0o600 }
    ].map((file) => ({ machine: vault.name, file })),
    { machine: bastion.name, file: { content: ca!, target: '/etc/keybuzz-lab/vault-ca.pem', mode: 0o644 } }
  ]
}

type Asked = { token?: string; data?: object }

/** One call of Vault's API, from vault-01 itself. What is secret goes in on stdin: nothing of it is in a process table. */
const ask = async <Answer,>(docker: Docker, method: string, path: string, { token, data }: Asked = {}): Promise<{ status: number; body: Answer }> => {
  const input = [
    `request = ${method}`,
    `url = "https://127.0.0.1:8200/v1/${path}"`,
    ...(token ? [`header = "X-Vault-Token: ${token}"`] : []),
    ...(data ? [`data = ${JSON.stringify(JSON.stringify(data))}`] : [])
  ].join('\n')
  const argv = ['curl', '--silent', '--show-error', '--max-time', '30', '--cacert', '/etc/vault.d/ca.pem', '--write-out', '\\n%{http_code}', '--config', '-']
  const { stdout, stderr, exitCode } = await capture(docker, vault, argv, { input })
  if (exitCode !== 0) throw new Error(`Vault does not answer: ${stderr.trim()}`)
  const [, body = '', status] = /^([^]*)\n(\d+)$/.exec(stdout) ?? []
  return { status: Number(status), body: (body.trim() === '' ? {} : JSON.parse(body)) as Answer }
}

/** The same. An answer that is no success is an error, with Vault's words. */
const must = async <Answer,>(...call: Parameters<typeof ask>): Promise<Answer> => {
  const { status, body } = await ask<Answer & { errors?: string[] }>(...call)
  if (status >= 300) throw new Error(`Vault's ${call[2]} says ${status}: ${body.errors?.join('; ')}`)
  return body
}

type Keys = { keys_base64: string[]; root_token: string }

const keptKeys = async (): Promise<Keys> => {
  const text = await readFile(keysFile, 'utf8').catch(() => '')
  if (text === '') throw new Error(`Vault's data is there, and ${keysFile}, which unseals it, is not. (Hint: npm run lab -- down, then up)`)
  return JSON.parse(text) as Keys
}

const untilActive = async (docker: Docker): Promise<void> => {
  const active = async (): Promise<string> => {
    const { status } = await ask(docker, 'GET', 'sys/health')
    return status === 200 ? '' : `its health is ${status}`
  }
  const words = await until(active, { seconds: 60, signal: new AbortController().signal })
  if (words !== '') throw new Error(`Vault is unsealed, and not active after a minute: ${words}`)
}

/** As many of the keys as it takes. */
const threshold = 3

/**
 * Starts Vault where it is stopped, initializes it where it never was, and unseals it where it is sealed, as operators do
 * after each of its starts. Sees to it that the tokens are valid: the administrator's,
 * and the operators', with the policy that docs/vault.md lists.
 */
export const unsealVault = async ({ container: { dockerode: docker } }: Engine): Promise<void> => {
  const { exitCode, stderr } = await capture(docker, vault, ['systemctl', 'start', 'vault'])
  if (exitCode !== 0) throw new Error(`Vault does not start: ${stderr.trim()} (Hint: npm run lab -- shell vault-01, then journalctl -u vault)`)
  const { initialized, sealed } = await must<{ initialized: boolean; sealed: boolean }>(docker, 'GET', 'sys/seal-status')
  if (!initialized) {
    const made = await must<Keys>(docker, 'PUT', 'sys/init', { data: { secret_shares: 5, secret_threshold: threshold } })
    await writeFile(`${keysFile}.new`, JSON.stringify(made), { mode: 0o600 })
    await rename(`${keysFile}.new`, keysFile)
  }
  const { keys_base64: keys, root_token: root } = await keptKeys()
  if (!initialized || sealed) {
    await must(docker, 'PUT', 'sys/unseal', { data: { reset: true } })
    for (const key of keys.slice(0, threshold)) await must(docker, 'PUT', 'sys/unseal', { data: { key } })
  }
  await untilActive(docker)
  const policy = policyLines(rightsFor(defaultSettings(), [...vaultApps]))
  await must(docker, 'POST', 'sys/policies/acl/k3s-scripts', { token: root, data: { policy } })
  for (const [id, name] of [[adminSecrets['KEYBUZZ_VAULT_ADMIN_TOKEN']!, 'root'], [vaultToken, 'k3s-scripts']] as const) {
    const { status } = await ask(docker, 'GET', 'auth/token/lookup-self', { token: id })
    if (status === 403) await must(docker, 'POST', 'auth/token/create', { token: root, data: { id, policies: [name], no_parent: true, display_name: name } })
  }
}
