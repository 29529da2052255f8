import * as assert from 'uvu/assert'
import { bastion, bastionStart, labUp } from '../nodes.mts'
import { kubectl, masters, nodesThatAre, on, script, those, until } from './cluster.mts'
import { test } from './timed.mts'

await labUp()

const startedAt = async (): Promise<number[]> =>
  Promise.all(masters.map(async (node) => Number(await on(node, 'date -d "$(systemctl show -p ExecMainStartTimestamp --value k3s)" +%s'))))

/** The server whose etcd leads. */
const leader = async (): Promise<string | undefined> => {
  const leads = await Promise.all(masters.map((node) => on(node, "curl -sf http://127.0.0.1:2381/metrics | grep -cx 'etcd_server_is_leader 1' || true")))
  return masters.find((_, index) => leads[index] === '1')
}

test('a changed configuration is rolled out one server at a time, and the API stays', async () => {
  await bastion(['bash', '-c', 'cp settings.yaml ~/changed.yaml; printf "snapshots: { retention: 27 }\\n" >> ~/changed.yaml'])
  const before = await startedAt()
  const ledBy = await leader()
  const probe = await bastionStart(['bash', '-c', `trap 'echo "$answers $failures"; exit' INT TERM
answers=0 failures=0
while :; do
  if timeout 5 /artifacts/k3s kubectl get --raw /readyz >/dev/null 2>&1; then answers=$((answers + 1)); else failures=$((failures + 1)); fi
  sleep 0.5
done`])
  const run = await script('09_k3s_02_install_control_plane', '--yes', '--settings', '/root/changed.yaml')
  await probe.kill('TERM')
  const [answers = 0, failures = 0] = (await probe.done).stdout.trim().split(' ').map(Number)
  assert.is(run.exitCode, 0, run.text)
  assert.equal(those(run, 'changed').toSorted(), masters.flatMap((node) => [
    `${node}: has the K3s configuration`, `${node}: runs what is configured`
  ]))
  const after = await startedAt()
  assert.ok(after.every((at, index) => at > before[index]!))
  const order = masters.toSorted((a, b) => after[masters.indexOf(a)]! - after[masters.indexOf(b)]!)
  assert.is(new Set(after).size, masters.length, 'one after the other')
  assert.equal(order, [...masters.filter((node) => node !== ledBy), ledBy], 'the leader of etcd comes last')
  for (const node of masters) assert.match(await on(node, 'k3s etcd-snapshot ls'), /before-restart/)
  assert.equal(await nodesThatAre('EtcdIsVoter'), masters)
  console.log(`  ${answers} answers of the API through the load balancer meanwhile, ${failures} failures`)
  // A request that meets the server that is just restarting fails; with the API gone for long, most would.
  assert.ok(failures < answers / 3, `${failures} of ${answers + failures} requests failed`)
})

test('K3s was restarted on every server, and CoreDNS has kept its replicas, nameservers and budget', async () => {
  const inSystem = (...args: string[]): Promise<string> => kubectl('-n', 'kube-system', 'get', ...args)
  assert.is(await inSystem('deployment', 'coredns', '-o', 'jsonpath={.spec.replicas} {.status.readyReplicas}'), '7 7')
  assert.is(await inSystem('deployment', 'metrics-server', '-o', 'jsonpath={.spec.replicas}'), '2')
  assert.match(await inSystem('configmap', 'coredns-custom', '-o', 'jsonpath={.data}'), /forward \. 10\.0\.0\.53/)
  assert.is(await inSystem('pdb', 'coredns', '-o', 'jsonpath={.spec.maxUnavailable}'), '1')
})

test('nothing is changed on a server while another is down, and a plan says so', async () => {
  await on('k3s-master-03', 'systemctl stop k3s')
  const plan = await script('09_k3s_02_install_control_plane', '--plan', '--hosts', 'k3s-master-01')
  const run = await script('09_k3s_02_install_control_plane', '--yes', '--hosts', 'k3s-master-01')
  await on('k3s-master-03', 'systemctl start k3s')
  for (const { exitCode, text, scripts } of [plan, run]) {
    assert.is(exitCode, 1, text)
    assert.match(JSON.stringify(scripts), /the quorum would be at risk: etcd on k3s-master-03 is not healthy/)
  }
  assert.equal(those(run, 'changed'), [])
  assert.match(await on('k3s-master-01', 'cat /etc/rancher/k3s/config.yaml'), 'etcd-snapshot-retention: 27')
})

test('a run that was cut after it wrote the files restarts K3s the next time', async () => {
  await until('etcd is whole again', 120, async () => (await on('k3s-master-03', 'curl -sf http://127.0.0.1:2381/health')).includes('"true"'))
  await on('k3s-master-01', 'sed -i "s/retention: 27/retention: 28/" /etc/rancher/k3s/config.yaml')
  const run = await script('09_k3s_02_install_control_plane', '--yes')
  assert.is(run.exitCode, 0, run.text)
  assert.ok(those(run, 'changed').includes('k3s-master-01: runs what is configured'))
  assert.match(await kubectl('get', '--raw', '/readyz'), /ok/)
})

test.run()
