import * as assert from 'uvu/assert'
import { bastion, bastionStart, labUp, reset } from '../nodes.mts'
import { applyAll, everyNode, kubectl, leftovers, masters, nodesThatAre, on, script, those, until } from './cluster.mts'
import { test } from './timed.mts'

await labUp()
await reset()

// Everything on a node that a script could have touched.
const fingerprint = async (node: string): Promise<string[]> => (await on(node, `
find /etc /usr/local /opt /root /home /var/lib/rancher /var/lib/dpkg -xdev -printf '%p %s %m %l %T@\\n' | sort
iptables-save | sed 's/\\[[0-9:]*\\]//; /^#/d'; ip6tables-save | sed 's/\\[[0-9:]*\\]//; /^#/d'
sysctl -a 2>/dev/null | grep -E '^(vm.(panic|overcommit)|kernel.panic|net.ipv4.ip_forward|net.bridge|fs.inotify)'
systemctl list-unit-files --no-legend; ls -d /run/keybuzz* 2>/dev/null || true`)).split('\n').map((line) => `${node} ${line}`)

test('a plan of bare nodes tells what is to be done, and changes nothing', async () => {
  const before = new Set((await Promise.all(everyNode.map(fingerprint))).flat())
  const plan = await applyAll('--plan')
  assert.is(plan.exitCode, 2, plan.text)
  assert.ok(those(plan, 'pending').includes('k3s-worker-05: has swap off'))
  assert.equal(those(plan, 'failed'), [])
  const after = new Set((await Promise.all(everyNode.map(fingerprint))).flat())
  assert.equal([...before.symmetricDifference(after)], [])
})

test('an apply that is killed at three moments is resumed, and makes eight bare nodes a cluster', async () => {
  const moments: [name: string, come: () => Promise<boolean>][] = [
    ['01 changes the nodes', async () => (await on('k3s-master-01', 'ls /etc/sysctl.d')).includes('keybuzz')],
    ['02 starts the first server', async () => (await on('k3s-master-01', 'systemctl is-active k3s || true')) !== 'inactive'],
    ['02 lets the second server join', async () => (await on('k3s-master-02', 'systemctl is-active k3s || true')) !== 'inactive']
  ]
  for (const [name, come] of moments) {
    const run = await bastionStart(['./09_k3s_apply_all.mts', '--yes', '--to', '02']) // a plan of all takes half a minute
    await until(name, 300, come)
    await run.kill('KILL')
    await run.done
    await until(`nothing runs on after kill -9 while ${name}`, 30, async () => (await leftovers()).length === 0)
  }
  const last = await applyAll('--yes')
  assert.is(last.exitCode, 0, last.text)
  assert.equal(await nodesThatAre('Ready'), everyNode)
  assert.equal(await nodesThatAre('EtcdIsVoter'), masters)
})

test('a second apply has nothing to change', async () => {
  const run = await applyAll('--yes')
  assert.is(run.exitCode, 0, run.text)
  assert.equal(those(run, 'changed', 'pending', 'unknown', 'failed'), [])
  console.log(`  ${run.seconds.toFixed(1)} s, ${run.ssh.connections} connections, ${run.ssh.commands} commands`)
})

test('the pod network was proven between every two nodes', async () => {
  const run = await script('09_k3s_03_join_workers', '--plan')
  assert.is(those(run, 'ok').filter((line) => line.endsWith('has a pod network to every node')).length, everyNode.length)
})

test('pools, taints and tunnels are as the inventory says', async () => {
  const pools = await kubectl('get', 'nodes', '-o', 'jsonpath={range .items[*]}{.metadata.labels.keybuzz\\.io/pool}{" "}{end}')
  assert.is(pools, 'control-plane control-plane control-plane general general heavy observability reserve')
  const tunnels = await kubectl('get', 'nodes', '-o', 'jsonpath={range .items[*]}{.metadata.annotations.flannel\\.alpha\\.coreos\\.com/public-ip}{" "}{end}')
  assert.is(tunnels, '10.0.0.100 10.0.0.101 10.0.0.102 10.0.0.110 10.0.0.111 10.0.0.112 10.0.0.113 10.0.0.114')
  const taints = await kubectl('get', 'node', 'k3s-worker-03', '-o', 'jsonpath={range .spec.taints[*]}{.key}={.value}:{.effect} {end}')
  assert.is(taints, 'keybuzz.io/pool=heavy:NoSchedule')
})

test('secrets are kept by the bastion alone, and are in no log', async () => {
  const { stdout } = await bastion(['bash', '-c', `stat -c '%a %n' ~/.keybuzz/secrets/* ~/.kube/config ~/.keybuzz/logs
for secret in ~/.keybuzz/secrets/*; do
  value=$(<$secret); grep -rlF "\${value##*:}" ~/.keybuzz/logs && echo leaked
done; true`])
  const lines = stdout.trim().split('\n')
  assert.equal(lines.filter((line) => !line.startsWith('600 /root/.keybuzz/secrets/prod-')), ['600 /root/.kube/config', '700 /root/.keybuzz/logs'])
  assert.ok(['k3s-agent-token', 'k3s-server-token', 'redis-password'].every((name) => lines.includes(`600 /root/.keybuzz/secrets/prod-${name}`)))
  assert.match(await kubectl('config', 'view', '-o', 'jsonpath={.contexts[*].name} {.clusters[*].cluster.server}'), /^keybuzz-prod https:\/\/10\.0\.0\.10:6443$/)
})

test("the operators' own firewall rules are still there", async () => {
  for (const node of everyNode) assert.match(await on(node, 'ufw show added'), /ufw allow 9100\/tcp comment 'node exporter'/)
})

test('etcd has a snapshot, and secrets are encrypted in it', async () => {
  assert.match(await on('k3s-master-01', 'k3s etcd-snapshot ls'), /first/)
  assert.match(await on('k3s-master-01', 'k3s secrets-encrypt status'), /Enabled/)
})

test.run()
