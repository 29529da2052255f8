import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { defaultSettings } from '../../../lib/input/settings.mts'
import { canBeTakenOver, keepsItsNetworks, tunnelsOnPrivateNic } from '../../../lib/node/adopt.mts'
import type { NodeStep } from '../../../lib/run/step.mts'
import { hostOf } from '../../support/hosts.mts'
import { commands, onNode } from '../../support/node-shell.mts'

const server = hostOf('k3s-master-01', { role: 'server', address: '10.0.0.100', publicAddress: '198.51.100.100' })
const worker = hostOf('k3s-worker-01', { address: '10.0.0.110' })
const run = { servers: [server], settings: defaultSettings() }
const data = '/var/lib/rancher/k3s'

type Found = {
  files?: Record<string, string>
  /** The unit as `systemctl cat` shows it. */
  unit?: string
  enabled?: string
  active?: string
}

// A node with these files, in a folder of the test. A file of K3s's data is what it is by being there.
const says = (step: NodeStep, { files = {}, unit = '', enabled = '', active = '' }: Found): string => {
  const folder = mkdtempSync(join(tmpdir(), 'keybuzz-adopt-'))
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true })
    writeFileSync(join(folder, path), text)
  }
  const path = [commands({
    systemctl: `case "$1 $2" in
"cat "*) cat <<'UNIT'
${unit}
UNIT
;;
"is-enabled ${enabled}") echo enabled;;
"is-active ${active}") echo active;;
*) exit 3;;
esac`
  })]
  const shell = (step.check as string).replaceAll(/(?<![\w.])\/(etc|var)\//g, `${folder}/$1/`)
  const { stdout, stderr, code } = onNode(shell, { path })
  assert.equal([stderr, code], ['', 0])
  return stdout.replaceAll(folder, '')
}
const onServer = (found: Found): string => says(canBeTakenOver(server, run), found)
const onWorker = (found: Found): string => says(canBeTakenOver(worker, run), found)

const wal = { [`${data}/server/db/etcd/member/wal/0.wal`]: '' }
const ours = { '/etc/rancher/k3s/config.yaml': '# Written by KeyBuzz K3s HA; edits are undone.\nnode-ip: 10.0.0.100\n' }
const member = (urls: string): Record<string, string> => ({ ...wal, [`${data}/server/db/etcd/config`]: `advertise-client-urls: https://x\nlisten-peer-urls: ${urls}\nname: k3s-master-01-1a2b3c4d\n` })
const encrypted = 'secrets-encryption: true\n'

test('what refuses a node refuses an apply from the plan on, and says where to read on', () => {
  for (const step of [canBeTakenOver(server, run), tunnelsOnPrivateNic(server), keepsItsNetworks(run)]) {
    assert.is(step.always, true)
    assert.is(step.change, undefined)
    assert.ok(step.hint)
  }
})

test('a bare node, and a server or worker of ours, can be taken over', () => {
  assert.is(onServer({}), '')
  assert.is(onWorker({}), '')
  assert.is(onServer({ files: { ...ours, ...member('https://127.0.0.1:2380,https://10.0.0.100:2380') } }), '')
  assert.is(onServer({ files: { ...ours, ...wal } }), '', 'cut short before etcd has written its configuration')
  assert.is(onWorker({ files: ours, active: 'k3s-agent' }), '')
})

test("a server whose etcd member is on another address is refused with both, also where it was ours and IP_PRIVEE has changed", () => {
  for (const files of [member('https://127.0.0.1:2380,https://198.51.100.100:2380'), { ...ours, ...member('https://198.51.100.100:2380') }])
    assert.match(onServer({ files: { '/etc/rancher/k3s/config.yaml': encrypted, ...files } }),
      /^its etcd member is on 198\.51\.100\.100, and IP_PRIVEE is 10\.0\.0\.100$/)
  // An address that begins like IP_PRIVEE is another one.
  assert.match(onServer({ files: { ...ours, ...member('https://10.0.0.1:2380') } }), /member is on 10\.0\.0\.1, and/)
})

test('SQLite, and an external datastore, are told by what they are, and the password of the latter is not', () => {
  assert.is(onServer({ files: { [`${data}/server/db/state.db`]: '' } }),
    `K3s keeps its data in SQLite (${data}/server/db/state.db), not in embedded etcd`)
  assert.is(onServer({ files: { ...wal, [`${data}/server/db/state.db`]: '', ...ours } }), '', 'migrated to etcd since')
  const external = 'K3s keeps its data in an external datastore (mysql), not in embedded etcd'
  const endpoint = 'mysql://k3s:geheim@tcp(10.0.0.9:3306)/k3s'
  const places: Found[] = [
    { files: { '/etc/rancher/k3s/config.yaml': `datastore-endpoint: "${endpoint}"\n` } },
    { files: { '/etc/rancher/k3s/config.yaml.d/db.yaml': `"datastore-endpoint": ${endpoint}\n` } },
    { files: { '/etc/systemd/system/k3s.service.env': `K3S_TOKEN=x\nK3S_DATASTORE_ENDPOINT='${endpoint}'\n` } },
    { files: { '/etc/default/k3s': `export K3S_DATASTORE_ENDPOINT=${endpoint}\n` } },
    { unit: `[Service]\nEnvironment="K3S_DATASTORE_ENDPOINT=${endpoint}"` },
    { unit: `[Service]\nExecStart=/usr/local/bin/k3s \\\n    server \\\n\t'--datastore-endpoint' \\\n\t'${endpoint}' \\\n` },
    { unit: `[Service]\nExecStart=/usr/local/bin/k3s server --datastore-endpoint=${endpoint} --disable=traefik` }
  ]
  for (const place of places) assert.is(onServer(place), external)
})

test('K3s that keeps its data elsewhere is not taken for bare', () => {
  assert.is(onServer({ files: { '/etc/rancher/k3s/config.yaml': 'data-dir: /data/k3s\n' } }), `K3s keeps its data in /data/k3s, not in ${data}`)
  assert.is(onWorker({ unit: 'ExecStart=/usr/local/bin/k3s agent -v 1 --data-dir=/data/k3s' }), `K3s keeps its data in /data/k3s, not in ${data}`)
})

test('a cluster of another tool can be taken over where nothing need change that cannot', () => {
  const files = member('https://10.0.0.100:2380')
  assert.is(onServer({ files: { ...files, '/etc/rancher/k3s/config.yaml': encrypted } }), '')
  assert.is(onServer({ files }), 'secrets-encryption is false in the cluster, expected true')
  const unit = 'ExecStart=/usr/local/bin/k3s server --secrets-encryption --flannel-backend=wireguard-native --disable-network-policy'
  assert.is(onServer({ files, unit }),
    'flannel-backend is wireguard-native in the cluster, expected vxlan\ndisable-network-policy is true in the cluster, expected false')
})

test('a node in the other role is refused', () => {
  assert.match(onServer({ enabled: 'k3s-agent' }), /^is a worker \(k3s-agent\), and servers\.tsv says master$/)
  assert.match(onWorker({ enabled: 'k3s' }), /^is a server of a cluster \(k3s\)/)
  assert.match(onWorker({ files: wal }), /^is a server of a cluster \(k3s\)/)
})

test('a worker of another cluster is refused, one of an earlier tool on these servers is not', () => {
  const joined = (url: string): string => onWorker({ active: 'k3s-agent', files: { '/etc/systemd/system/k3s-agent.service.env': `K3S_URL=${url}\n` } })
  assert.is(joined('https://10.9.9.9:6443'), 'is a worker of another cluster, at 10.9.9.9')
  for (const known of ['10.0.0.10', '10.0.0.100', '198.51.100.100', 'k3s-master-01']) assert.is(joined(`https://${known}:6443`), '')
})

const networks = (found: Found): string => says(keepsItsNetworks(run), found)

test('the networks of a cluster are kept, whoever has made it', () => {
  assert.is(networks({ files: { '/etc/rancher/k3s/config.yaml': '# Written by KeyBuzz\ncluster-cidr: 10.42.0.0/16\n' } }), '')
  assert.is(networks({ files: { '/etc/rancher/k3s/config.yaml': 'cluster-cidr: 10.52.0.0/16\n' } }),
    'cluster-cidr is 10.52.0.0/16 in the cluster, the settings say 10.42.0.0/16')
  assert.is(networks({ unit: "ExecStart=/usr/local/bin/k3s \\\n server \\\n '--cluster-domain=keybuzz.local' \\\n" }),
    'cluster-domain is keybuzz.local in the cluster, the settings say cluster.local')
})

test("what an earlier tool has not said is K3s's default, and what is lost of our own is not guessed", () => {
  const settings = defaultSettings()
  settings.network.cluster_cidr = '10.60.0.0/16'
  assert.match(says(keepsItsNetworks({ settings }), { unit: 'ExecStart=/usr/local/bin/k3s server' }), /^cluster-cidr is 10\.42\.0\.0\/16 in the cluster/)
  assert.is(says(keepsItsNetworks({ settings }), { files: { '/etc/systemd/system/k3s.service': '# Written by KeyBuzz K3s HA\n' } }), '')
})

const tunnel = (local: string, addresses: string[]): string => {
  const path = [commands({
    ip: `case "$*" in *flannel.1) ${local === '' ? 'exit 1' : `echo 'vxlan id 1 local ${local} dev eth0 srcport 0 0'`};; *) ${addresses.map((one) => `echo '2: eth0    inet ${one}/24 scope global eth0'`).join('; ')};; esac`
  })]
  return onNode(tunnelsOnPrivateNic(server).check as string, { path }).stdout
}

test('a pod network that uses an address which the firewall would close is told', () => {
  assert.is(tunnel('', ['10.0.0.100']), '')
  assert.is(tunnel('10.0.0.100', ['10.0.0.100', '198.51.100.100']), '')
  assert.is(tunnel('198.51.100.100', ['10.0.0.100', '198.51.100.100']),
    'flannel uses 198.51.100.100, which the firewall would close; IP_PRIVEE is 10.0.0.100')
  assert.is(tunnel('10.0.0.77', ['10.0.0.100', '198.51.100.100']), '', 'the former IP_PRIVEE of a worker carries nothing any more')
})

test.run()
