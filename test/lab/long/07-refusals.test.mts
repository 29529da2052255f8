// Nothing is changed on a guess about what is there: each of these is refused before the first change, and named.
import { test } from '../tests/timed.mts'
import * as assert from 'uvu/assert'
import { bastion, labUp, reset } from '../nodes.mts'
import { applyAll, everyNode, kubectl, on, script, those, type Run } from '../tests/cluster.mts'

await labUp()
const cluster = await applyAll('--yes')
assert.is(cluster.exitCode, 0, cluster.text)

const refused = (run: Run, words: RegExp): void => {
  assert.is(run.exitCode, 1, run.text)
  assert.match(JSON.stringify(run.scripts), words)
  assert.match(run.text, /Nothing may be changed while these fail/)
  assert.equal(those(run, 'changed'), [], run.text)
}
const rules = (): Promise<string[]> => Promise.all(everyNode.map((node) => on(node, 'ufw show added')))

test('a node whose row was taken out of servers.tsv: 01, 02 and 03 refuse, no firewall is closed towards it', async () => {
  const before = await rules()
  await bastion(['bash', '-c', `grep -v k3s-worker-05 servers.tsv > ~/fewer.tsv`])
  const words = /k3s-worker-05 is a node of the cluster, and not in servers\.tsv/
  for (const name of ['09_k3s_01_prepare', '09_k3s_02_install_control_plane', '09_k3s_03_join_workers', '09_k3s_apply_all']) {
    const run = await script(name, '--yes', '--inventory', '/root/fewer.tsv')
    refused(run, words)
    assert.match(JSON.stringify(run.scripts), /docs\/workers\.md, \\"Remove a node for good\\"/)
  }
  assert.equal(await rules(), before)
})

test('a worker that is removed for good, as the page says, is forgotten, and comes back as a new one', async () => {
  await kubectl('drain', 'k3s-worker-05', '--ignore-daemonsets', '--delete-emptydir-data', '--force', '--timeout=120s')
  await on('k3s-worker-05', 'systemctl disable --now k3s-agent')
  await kubectl('delete', 'node', 'k3s-worker-05')
  const run = await script('09_k3s_01_prepare', '--yes', '--inventory', '/root/fewer.tsv')
  assert.is(run.exitCode, 0, run.text)
  await reset(['k3s-worker-05'])
  const back = await applyAll('--yes')
  assert.is(back.exitCode, 0, back.text)
})

test('an etcd member on the public address: 01 closes no firewall, 02 restarts nothing', async () => {
  const file = '/var/lib/rancher/k3s/server/db/etcd/config'
  await on('k3s-master-02', `cp -p ${file} ${file}.kept; sed -i 's#^listen-peer-urls:.*#listen-peer-urls: https://127.0.0.1:2380,https://198.51.100.101:2380#' ${file}`)
  try {
    const before = await rules()
    await on('k3s-worker-01', 'sed -i "s/^# Written by.*/# edited/" /etc/rancher/k3s/config.yaml') // something to change
    for (const name of ['09_k3s_01_prepare', '09_k3s_02_install_control_plane', '09_k3s_apply_all'])
      refused(await script(name, '--yes'), /its etcd member is on 198\.51\.100\.101, and IP_PRIVEE is 10\.0\.0\.101/)
    assert.equal(await rules(), before)
  } finally {
    await on('k3s-master-02', `mv ${file}.kept ${file}`)
  }
  const mended = await applyAll('--yes')
  assert.is(mended.exitCode, 0, mended.text)
})

test('SQLite and an external datastore are not taken for bare', async () => {
  const data = '/var/lib/rancher/k3s/server'
  await on('k3s-master-03', `systemctl stop k3s; mv ${data}/db ${data}/db.kept; mkdir ${data}/db; touch ${data}/db/state.db`)
  try {
    refused(await applyAll('--yes'), /K3s keeps its data in SQLite \(\/var\/lib\/rancher\/k3s\/server\/db\/state\.db\), not in embedded etcd/)
    await on('k3s-master-03', `rm ${data}/db/state.db
mkdir -p /etc/rancher/k3s/config.yaml.d; echo 'datastore-endpoint: mysql://k3s:geheim@tcp(10.0.0.9:3306)/k3s' > /etc/rancher/k3s/config.yaml.d/90-db.yaml`)
    const external = await applyAll('--yes')
    refused(external, /K3s keeps its data in an external datastore \(mysql\), not in embedded etcd/)
    assert.not.match(external.text + JSON.stringify(external), 'geheim')
  } finally {
    await on('k3s-master-03', `rm -rf /etc/rancher/k3s/config.yaml.d/90-db.yaml ${data}/db; mv ${data}/db.kept ${data}/db; systemctl start k3s`)
  }
  const again = await applyAll('--yes')
  assert.is(again.exitCode, 0, again.text)
})

test.run()
