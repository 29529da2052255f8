// A restart is over when the kubelet itself says so, and one node shows it before the others are touched.
import { test } from '../tests/timed.mts'
import * as assert from 'uvu/assert'
import { bastion, exec, labUp, restart } from '../nodes.mts'
import { applyAll, everyNode, kubectl, masters, on, script, those, until, workers } from '../tests/cluster.mts'

await labUp()
const cluster = await applyAll('--yes')
assert.is(cluster.exitCode, 0, cluster.text)

const startedAt = (nodes: string[], unit: string): Promise<string[]> =>
  Promise.all(nodes.map((node) => on(node, `systemctl show -p ExecMainStartTimestamp --value ${unit}`)))
const healthz = (node: string): Promise<string> => on(node, 'curl -s http://127.0.0.1:10248/healthz || true')

// The kubelet refuses it: its low threshold is 80.
await bastion(['bash', '-c', `sed 's/- fail-cgroupv1=false/- fail-cgroupv1=false\\n    - image-gc-high-threshold=75/' settings.yaml > ~/refused.yaml; grep -q image-gc ~/refused.yaml`])
const refused = ['--yes', '--settings', '/root/refused.yaml']

test('a kubelet argument that is refused stops at the first server, with the words of its kubelet', async () => {
  const before = await startedAt(masters, 'k3s')
  const run = await script('09_k3s_02_install_control_plane', ...refused)
  assert.is(run.exitCode, 1, run.text)
  const failed = those(run, 'failed')
  assert.is(failed.length, 1, run.text)
  assert.match(failed[0]!, /^k3s-master-0\d: is ready, and a voter of etcd$/)
  assert.match(JSON.stringify(run.scripts), /its kubelet does not answer[^}]*image-?gc-?high-?threshold/i)
  const after = await startedAt(masters, 'k3s')
  assert.is(after.filter((at, index) => at !== before[index]).length, 1, 'one server was restarted')
  const mended = await script('09_k3s_02_install_control_plane', '--yes')
  assert.is(mended.exitCode, 0, mended.text)
})

test('among workers the first one goes alone: where it fails no other one is touched, nor told', async () => {
  const before = await startedAt(workers, 'k3s-agent')
  const configs = (): Promise<string[]> => Promise.all(workers.slice(1).map((node) => on(node, 'cat /etc/rancher/k3s/config.yaml')))
  const written = await configs()
  const run = await script('09_k3s_03_join_workers', ...refused)
  assert.is(run.exitCode, 1, run.text)
  assert.equal(those(run, 'failed'), ['k3s-worker-01: has a kubelet that is well'], run.text)
  assert.match(JSON.stringify(run.scripts), /its kubelet does not answer[^}]*image-?gc-?high-?threshold/i)
  assert.not.match(run.text, /8472/)
  const after = await startedAt(workers, 'k3s-agent')
  assert.equal(after.slice(1), before.slice(1))
  assert.equal(await configs(), written)
  for (const node of workers.slice(1)) assert.is(await healthz(node), 'ok', node)
  const mended = await script('09_k3s_03_join_workers', '--yes')
  assert.is(mended.exitCode, 0, mended.text)
  for (const node of everyNode) assert.is(await healthz(node), 'ok', node)
})

test('another binary waits beside the one that runs until its node restarts: a crash before that starts the old one', async () => {
  const k3s = '/usr/local/bin/k3s'
  // A binary of another sum that still runs, as after the update of a version: the kernel ignores this byte (elf(5), EI_PAD).
  await on('k3s-worker-01', `cp ${k3s} ${k3s}.old
printf '\\1' | dd of=${k3s}.old bs=1 seek=15 conv=notrunc status=none
mv ${k3s}.old ${k3s}; touch -d '1 hour ago' ${k3s}`)
  const plan = await script('09_k3s_03_join_workers', '--plan', '--hosts', 'k3s-worker-01')
  assert.match(JSON.stringify(plan.scripts), /the new one will wait beside it until K3s restarts/)
  assert.equal(those(plan, 'unknown'), ['k3s-worker-01: runs what is configured'])
  const run = await script('09_k3s_03_join_workers', '--yes', '--hosts', 'k3s-worker-01')
  assert.is(run.exitCode, 0, run.text)
  assert.equal(those(run, 'changed').toSorted(), [`k3s-worker-01: ${those(run, 'changed').find((line) => line.includes('has k3s'))!.split(': ')[1]}`, 'k3s-worker-01: runs what is configured'])
  assert.is((await exec('k3s-worker-01', `ls ${k3s}.keybuzz-new`)).exitCode, 2)
})

test('a node without its images is one finding, and is rebuilt as the page says', async () => {
  const node = 'k3s-worker-04'
  await on(node, 'rm -rf /var/lib/rancher/k3s/agent/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/*')
  const pod = await kubectl('-n', 'keybuzz-netcheck', 'get', 'pods', '--field-selector', `spec.nodeName=${node}`, '-o', 'name')
  await kubectl('-n', 'keybuzz-netcheck', 'delete', pod, '--wait=false')
  await until('its netcheck pod is not ready', 60, async () =>
    (await kubectl('-n', 'keybuzz-netcheck', 'get', 'daemonset', 'netcheck', '-o', 'jsonpath={.status.numberReady}')) === String(everyNode.length - 1))
  try {
    const sick = await script('09_k3s_03_join_workers', '--plan')
    assert.equal(those(sick, 'failed'), [`${node}: has a pod network to every node`], sick.text)
    assert.not.match(sick.text, /8472/)
    assert.match(sick.text, /Rebuild a node's containerd/)
  } finally {
    await on(node, 'systemctl disable k3s-agent')
    await restart(node)
    await on(node, `rm -rf /var/lib/rancher/k3s/agent/containerd /var/lib/rancher/k3s/agent/images/.cache.json; systemctl enable --now --no-block k3s-agent`)
  }
  const run = await applyAll('--yes')
  assert.is(run.exitCode, 0, run.text)
})

test.run()
