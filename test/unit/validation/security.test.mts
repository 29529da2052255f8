// The shell of the steps runs on this machine, on a folder in the place of /var/lib/rancher/k3s.
import { execFile, execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Host } from '../../../lib/input/inventory.mts'
import { defaultSettings } from '../../../lib/input/settings.mts'
import { createSsh, type Ssh } from '../../../lib/reach/ssh.mts'
import type { NodeStep } from '../../../lib/run/step.mts'
import { asksForName, encryptsSecrets, isClosedOutside, kubeletSteps, serverSteps } from '../../../lib/validation/security.mts'
import { fakeKubectl } from '../../support/fake-kubectl.mts'

const folder = mkdtempSync(join(tmpdir(), 'keybuzz-security-'))
test.after(() => rmSync(folder, { recursive: true }))
const write = (path: string, mode = 0o600): string => {
  const file = join(folder, path)
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, 'x')
  chmodSync(file, mode)
  return file
}
const host = (name: string, over: Partial<Host> = {}): Host => ({
  name, address: '10.0.0.1', publicAddress: '203.0.113.7', user: 'root', fqdn: '', role: 'server', stack: '', pool: 'x', line: 2, ...over
})

const bash = async (script: string): Promise<string> =>
  (await promisify(execFile)('bash', ['-c', `set -euo pipefail\n${script}`])).stdout.trim()

// What a step's shell prints, with other words in the place of a node's paths and ports.
const printed = (step: NodeStep, places: Record<string, string> = {}): Promise<string> =>
  bash(Object.entries({ '/var/lib/rancher/k3s': folder, ...places }).reduce((script, [from, to]) => script.replaceAll(from, to), String(step.check)))
const found = (step: NodeStep, name: RegExp): NodeStep => {
  assert.match(step.name, name)
  return step
}
const ask = (step: { check: string | (() => Promise<string>) }): Promise<string> =>
  typeof step.check === 'function' ? step.check() : Promise.reject(new Error('the check is shell'))

test('keys and tokens that others can read are told, each by itself', async () => {
  const files = ['server/token', 'server/agent-token', 'server/cred/admin.kubeconfig', 'server/tls/server-ca.key', 'server/tls/etcd/peer.key']
  for (const file of files) write(file)
  for (const one of ['server/db/etcd', 'server/cred', 'server/logs']) {
    mkdirSync(join(folder, one), { recursive: true })
    chmodSync(join(folder, one), 0o700)
  }
  const step = found(serverSteps[0]!, /CIS 1\.1/)
  // Whoever runs the tests owns the files; in the container that is root.
  const faults = async (): Promise<string[]> =>
    (await printed(step, { 'root:root': '$(id -un):$(id -gn)', '/etc/rancher/k3s/': '/nowhere/' })).split('\n')
  assert.equal(await faults(), ["= 3 keys and kubeconfigs, etcd's data, tokens"])
  chmodSync(join(folder, 'server/token'), 0o640)
  chmodSync(join(folder, 'server/db/etcd'), 0o755)
  assert.equal((await faults()).slice(0, 2), ['db/etcd has mode 755, expected 700', 'token has mode 640, expected 600'])
  const strange = await printed(step, { 'root:root': 'nobody:nobody', '/etc/rancher/k3s/': '/nowhere/' })
  assert.match(strange, /^agent-token belongs to \S+$/m)
})

test('an audit log must be there, and be written', async () => {
  const step = found(serverSteps[1]!, /audit log/)
  rmSync(join(folder, 'server/logs'), { recursive: true, force: true })
  assert.match(await printed(step), /audit\.log is missing or empty$/)
  const log = write('server/logs/audit.log')
  assert.match(await printed(step), /^= \S+, the last line is \d s old$/)
  const before = Date.now() / 1000 - 700
  utimesSync(log, before, before)
  assert.match(await printed(step), /\nnothing was written for 70\d s$/)
})

const openssl = (...args: string[]): void => void execFileSync('openssl', args, { cwd: folder, stdio: 'ignore' })
const certificate = (path: string, days: number): void => {
  const file = write(path)
  openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', '/CN=x', '-days', String(days), '-keyout', 'key.pem', '-out', file)
}

test('the certificate that ends first counts', async () => {
  const step = found(kubeletSteps(host('a'))[1]!, /certificates that last/)
  certificate('server/tls/long.crt', 365)
  certificate('agent/short.crt', 100)
  assert.match(await printed(step), /^= (99|100) days left to the first one, agent\/short\.crt$/)
  certificate('server/tls/etcd/peer.crt', 20)
  assert.match(await printed(step), /\nserver\/tls\/etcd\/peer\.crt ends in (19|20) days$/)
})

certificate('own.crt', 2)
const [key, cert] = ['key.pem', 'own.crt'].map((name) => readFileSync(join(folder, name)))
const answers = new Map<string, number>() // by path; 401 where there is none
const server = createServer({ key, cert }, ({ url = '' }, response) => response.writeHead(answers.get(url) ?? 401).end())
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
test.after(() => { server.closeAllConnections(); server.close() })
const { port } = server.address() as AddressInfo

test('the API must refuse whoever gives no name, on every path', async () => {
  const settings = defaultSettings()
  const step = asksForName({ settings: { ...settings, load_balancers: { ...settings.load_balancers, api: { address: '127.0.0.1', port, names: [] } } } })
  assert.is(await ask(step), '= /api/v1/namespaces, /version, /metrics, /openid/v1/jwks: 401')
  answers.set('/version', 200).set('/metrics', 403)
  assert.is(await ask(step), '/version answers 200, expected 401')
  assert.match(step.look, new RegExp(`https://127\\.0\\.0\\.1:${port}\\$path`))
})

test('a kubelet must refuse whoever gives no name', async () => {
  const step = found(kubeletSteps(host('a', { address: '127.0.0.1' }))[0]!, /CIS 4\.2/)
  const told = async (status: number): Promise<string> => {
    answers.set('/pods', status)
    return printed(step, { '127.0.0.1:10250': `127.0.0.1:${port}` })
  }
  assert.is(await told(401), '= 10250 answers 401')
  assert.is(await told(403), '10250 answers 403, expected 401')
  assert.is(await told(200), '10250 told its pods to somebody without a name')
})

type Etcd = 'encrypts' | 'is in the clear' | 'is behind'

// Servers whose etcd data are files here, and what they hold once the secret is written.
const judge = async (...etcds: Etcd[]) => {
  const servers = etcds.map((_, index) => host(`master-${index}`, { address: `10.0.0.${index}` }))
  const asked: string[] = []
  const kubectl = fakeKubectl((command, { input = '' }) => {
    asked.push(command.split(' ')[0]!)
    const { metadata: { name, namespace }, stringData: { marker } } = JSON.parse(input) as {
      metadata: { name: string; namespace: string }; stringData: { marker: string }
    }
    for (const [index, etcd] of etcds.entries()) {
      const value = etcd === 'is in the clear' ? marker : 'k8s:enc:aescbc'
      writeFileSync(write(`master-${index}/wal/0.wal`), etcd === 'is behind' ? '' : `\0registry/secrets/${namespace}/${name}\0${value}`)
    }
    return ''
  })
  const capture: Ssh['capture'] = ({ name }, script) =>
    bash(script.replace('/var/lib/rancher/k3s/server/db/etcd/member', join(folder, name)).replace('sleep 0.5', 'sleep 0.01'))
  const step = encryptsSecrets({ servers, kubectl, ssh: { ...createSsh(), capture }, signal: new AbortController().signal })
  const words = await ask(step)
  assert.equal([step.trial, asked], [true, ['apply', 'delete']])
  return { words, look: step.look }
}

test('a secret is looked for in every etcd, and removed again', async () => {
  const { words, look } = await judge('encrypts', 'encrypts')
  assert.is(words, '= a secret was written: its name is in the data of 2 etcds, its value in none')
  assert.match(look, /^for server in root@10\.0\.0\.0 root@10\.0\.0\.1; do$/m)
})

test('a secret in the clear is told, and an etcd that does not have it yet is not judged', async () => {
  const { words } = await judge('is in the clear', 'encrypts', 'is behind')
  assert.is(words, 'master-0 has it in the clear\nmaster-2 has not even its name: it could not be judged')
})

const outside = (listening: string, open: string, hosts = [host('a'), host('b'), host('c')], standing = ['a', 'b', 'c']) => {
  const asked: [name: string, script: string][] = []
  const capture: Ssh['capture'] = async ({ name }, script) => {
    asked.push([name, script])
    return script.startsWith('ss ') ? listening : open
  }
  const stands = (target: Host | string): boolean => typeof target === 'string' || standing.includes(target.name)
  return { asked, steps: isClosedOutside(hosts[0]!, { hosts, stands, ssh: { ...createSsh(), capture } }) }
}

test('the public side is tried by another node, on its own ports and those that listen', async () => {
  const { asked, steps: [step] } = outside('22\n9999\n', '')
  assert.match(await ask(step!), /^= of \d+ ports that b tried at 203\.0\.113\.7 none answered\n$/)
  assert.equal(asked.map(([name]) => name), ['a', 'b'])
  const tried = /^for port in (.*); do$/m.exec(asked[1]![1])![1]!.split(' ')
  assert.ok(['22', '9999', '2379', '6443', '10250'].every((one) => tried.includes(one)))
  assert.is(new Set(tried).size, tried.length)
})

test("ports of the cluster must be closed; the operator's own are told", async () => {
  const words = async (open: string): Promise<string> => ask(outside('22', open).steps[0]!)
  assert.match(await words('22'), /only 22 answered\n$/)
  assert.match(await words('22\n6443\n31000'), /only 22 answered\nopen to everybody: 6443, 31000$/)
})

test('who has no public address, or nobody who could try it, has no such step', () => {
  assert.is(outside('', '', [host('a', { publicAddress: '' }), host('b')]).steps.length, 0)
  assert.is(outside('', '', [host('a')]).steps.length, 0)
  assert.is(outside('', '', undefined, ['a']).steps.length, 0)
  assert.match(outside('', '', undefined, ['a', 'c']).steps[0]!.look!, /for port in 80 443 /)
})

test.run()
