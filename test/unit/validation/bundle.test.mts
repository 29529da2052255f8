import { execFileSync } from 'node:child_process'
import { chmodSync, existsSync, globSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Host } from '../../../lib/input/inventory.mts'
import type { Kubectl } from '../../../lib/reach/kubectl.mts'
import { fakeKubectl } from '../../support/fake-kubectl.mts'
import { useFakeSsh } from '../../support/fake-ssh.mts'

const home = useFakeSsh()
process.env['TMPDIR'] = mkdtempSync(join(tmpdir(), 'keybuzz-bundle-test-'))
const { writeBundle } = await import('../../../lib/validation/bundle.mts')
const { createRun } = await import('../../../lib/run/run.mts')
const { defaultSettings } = await import('../../../lib/input/settings.mts')
const { createSsh } = await import('../../../lib/reach/ssh.mts')

// What must never be in a bundle.
const kept = '6d2f0a1b9c8e7d5f6d2f0a1b9c8e7d5f6d2f0a1b9c8e7d5f6d2f0a1b9c8e7d5f'
const keyLine = 'MHcCAQEEIIrYSSNQFaA2Hwf1duRSxKtLYX5CB04fSeQ6tF1aY/PuoAoGCCqGSM49'
const key = `-----BEGIN EC PRIVATE KEY-----\n${keyLine}\n-----END EC PRIVATE KEY-----`
const clientKey = Buffer.from(key).toString('base64')
const inConfig = 'hunter2-in-config'
const inPod = 'hunter2-in-pod'
const inLog = 'hunter2-in-log'
const visitor = 'visitor@mail.example'

// The commands of a node, as far as they matter here. The rest are this machine's own.
const node = (name: string, prints: string): void => {
  writeFileSync(join(home, `${name}.txt`), prints)
  writeFileSync(join(home, name), `#!/bin/bash\n${name === 'k3s' ? '[[ $1 == kubectl ]] && exit 7\n' : ''}exec cat ${join(home, `${name}.txt`)}\n`)
  chmodSync(join(home, name), 0o755)
}
node('journalctl', `2026-11-22 k3s[1]: level=info msg="joining with K10${'ab'.repeat(32)}::server:${kept}"
2026-11-22 k3s[1]: read ${key.replaceAll('\n', '\n2026-11-22 k3s[1]: ')}
2026-11-22 k3s[1]: bootstrap data ${Buffer.from(`{"token":"${kept}"}`).toString('base64')}
2026-11-22 k3s[1]: it goes on
`)
node('ufw', 'Status: active')
node('lsmod', `GET /reset?mail=${visitor} HTTP/1.1`)
node('k3s', `# /etc/rancher/k3s/config.yaml\ntoken: ${inConfig}\nnode-name: a
apiVersion: v1\nusers:\n- user:\n    client-key-data: ${clientKey}\n    token: ${inConfig}\n`)

mkdirSync(join(home, '.keybuzz/secrets'), { recursive: true })
writeFileSync(join(home, '.keybuzz/secrets/prod-k3s-server-token'), `K10${'ab'.repeat(32)}::server:${kept}\n`)
mkdirSync(join(home, '.keybuzz/logs'), { recursive: true })
for (let day = 10; day < 25; day++) writeFileSync(join(home, `.keybuzz/logs/2026-11-${day}_x.log`), `day ${day}, password=${inLog}\n`)

const host = (name: string, address = '192.0.2.1'): Host => ({
  name, address, publicAddress: '', user: 'root', fqdn: '', role: name === 'a' ? 'server' : 'agent', stack: 'k3s-node',
  pool: 'general', line: 2
})

const runOf = (hosts: Host[], kubectl: Kubectl, signal = new AbortController().signal) =>
  createRun({
    mode: 'validate', script: '09_k3s_09', hosts, machines: [], chosen: hosts, settings: defaultSettings(), pending: false, signal, kubectl,
    ssh: createSsh({ signal }), release: () => { throw new Error('the release is not needed') },
    listener: { begins: () => {}, ends: () => {}, note: () => {}, outcome: () => {} }
  })

const asked: string[] = []
const pod = (name: string, phase: string, ready: boolean) => ({
  metadata: { namespace: 'shop', name }, status: { phase, conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }] }
})
const cluster = fakeKubectl((command) => {
  asked.push(command)
  if (command.startsWith('top')) throw new Error('Metrics API not available')
  if (command === 'get pods -A -o json') {
    return JSON.stringify({ items: [pod('web-1', 'Running', true), pod('web-2', 'Running', false), pod('job-1', 'Succeeded', false)] })
  }
  if (command.startsWith('describe pod')) return `Environment:\n  DB_PASSWORD:  ${inPod}\n`
  if (command.includes('yaml')) return `env:\n- name: SMTP_PASSWORD\n  value: ${inPod}\nstatus: fine\n`
  return `answer to ${command}\n`
})

const unpacked = (file: string): string => {
  const folder = mkdtempSync(join(home, 'unpacked-'))
  execFileSync('tar', ['-xzf', file, '-C', folder])
  return join(folder, readdirSync(folder)[0]!)
}

const file = join(home, 'bundle.tar.gz')
const faults = await writeBundle(runOf([host('a'), host('b'), host('dead', '192.0.2.255')], cluster), {
  file, report: `<p>token=${inLog}</p>`
})
const bundle = unpacked(file)
const files = globSync('**/*', { cwd: bundle, withFileTypes: true }).filter((one) => one.isFile())
  .map((one) => join(one.parentPath, one.name).slice(bundle.length + 1)).toSorted()
const read = (path: string): string => readFileSync(join(bundle, path), 'utf8')

test('no secret reaches the archive, plain or encoded', () => {
  const all = files.map(read).join('\n')
  for (const secret of [kept, keyLine, clientKey, inConfig, inPod, inLog, visitor]) {
    assert.not.match(all, secret)
    for (const cut of [0, 1, 2]) {
      const encoded = Buffer.from(secret.slice(cut)).toString('base64').slice(0, 16)
      assert.not.ok(all.includes(encoded), `${secret} in base64`)
    }
  }
  assert.match(read('nodes/a/journal.txt'), /joining with \[secret\].*\n.*read \[private key\]\n.*bootstrap data \S*\[secret\]\S*\n.*it goes on/)
  assert.match(read('nodes/a/k3s.txt'), /token: \[secret\]\nnode-name: a/)
  assert.match(read('cluster/kube-system.yaml'), /name: SMTP_PASSWORD\n {2}value: \[secret\]\nstatus: fine/)
})

test('no secret is asked for: of Secrets, kubectl prints names and types only', () => {
  assert.equal(asked.filter((command) => /secret/.test(command)), ['get secrets -A'])
})

test('what nodes, cluster and bastion say is there', () => {
  for (const path of [
    'nodes/a/journal.txt', 'nodes/a/etcd-metrics.txt', 'nodes/b/firewall.txt', 'cluster/nodes.yaml', 'cluster/logs/coredns.txt',
    'cluster/pods/shop-web-2.txt', 'bastion/settings.yaml', 'bastion/hosts.tsv', 'bastion/versions.txt', 'report.html', 'errors.txt'
  ]) assert.ok(files.includes(path), path)
  assert.not.ok(files.includes('nodes/b/etcd-metrics.txt'))
  assert.equal(files.filter((path) => path.startsWith('cluster/pods/')), ['cluster/pods/shop-web-2.txt'])
  assert.match(read('nodes/b/firewall.txt'), /Status: active$/)
  assert.is(read('bastion/hosts.tsv').split('\n')[1], 'a\t192.0.2.1\t\troot\t\tserver\tk3s-node\tgeneral\t2')
  const logs = files.filter((path) => path.startsWith('bastion/logs/'))
  assert.is(logs.length, 10)
  assert.is(logs[0], 'bastion/logs/2026-11-15_x.log')
})

test('what could not be had is told, and fails nothing else', () => {
  for (const words of [
    'dead: unreachable: ssh root@192.0.2.255 exit 255; ssh: connect to host 192.0.2.255 port 22: Connection timed out  Hint: ssh -v root@192.0.2.255',
    'kubectl top nodes: Metrics API not available',
    'a readyz: exit 7'
  ]) assert.ok(faults.includes(words), `no "${words}" in\n${faults.join('\n')}`)
  assert.ok(faults.some((words) => /^a etcd-health: .*Connection refused, exit 1$/.test(words)), faults.join('\n'))
  assert.is(read('errors.txt'), `${faults.join('\n')}\n`)
})

test('the manifest lists every file with its size', () => {
  const listed = read('MANIFEST').split('\n').map((line) => /^ *(\d+) {2}(.+)$/.exec(line)).filter((found) => found !== null)
  assert.equal(listed.map(([, , path]) => path).toSorted(), files.filter((path) => path !== 'MANIFEST'))
  for (const [, size, path] of listed) assert.is(Number(size), statSync(join(bundle, path!)).size, path)
})

test('only its owner can read it, and nothing else is left', () => {
  assert.is(statSync(file).mode & 0o777, 0o600)
  assert.equal(readdirSync(process.env['TMPDIR']!), [])
  assert.equal(readdirSync(home).filter((name) => name.startsWith('.bundle')), [])
})

test('an API that does not answer is asked once', async () => {
  let questions = 0
  const away = fakeKubectl(() => { questions++; throw new Error('connection refused') })
  const faults = await writeBundle(runOf([], away), { file })
  assert.is(questions, 1)
  assert.equal(faults, ['kubectl get --raw /readyz?verbose: connection refused', 'cluster: nothing was asked of it'])
})

test('a file that cannot be written is told before anything is asked', async () => {
  const refused = async (file: string): Promise<string> => {
    const kubectl = fakeKubectl(() => { throw new Error('was asked') })
    return writeBundle(runOf([], kubectl), { file }).then(() => '', (error: Error) => error.message)
  }
  assert.is(await refused(home), `command line --bundle "${home}": expected a file, not a folder. Name a file in it.`)
  assert.match(await refused(join(home, 'nowhere/x.tar.gz')), /^command line --bundle .*: expected a file that can be written \(ENOENT.*Name another one\.$/)
})

test('interrupted, it leaves nothing', async () => {
  const interrupt = new AbortController()
  const path = join(home, 'interrupted.tar.gz')
  writeFileSync(join(home, 'journalctl'), '#!/bin/bash\nexec sleep 100\n')
  setTimeout(() => interrupt.abort(), 1000)
  const started = performance.now()
  const error = await writeBundle(runOf([host('a')], cluster, interrupt.signal), { file: path }).catch((one: Error) => one)
  assert.is((error as Error).name, 'AbortError')
  assert.ok(performance.now() - started < 10_000)
  assert.not.ok(existsSync(path))
  assert.equal(readdirSync(process.env['TMPDIR']!), [])
})

test.run()
