import * as assert from 'uvu/assert'
import { bastion, bastionStart, labUp } from '../nodes.mts'
import { kubectl, masters, nodesThatAre, on, script, those } from './cluster.mts'
import { test } from './timed.mts'

await labUp()

const startedAt = async (): Promise<number[]> =>
  Promise.all(masters.map(async (node) => Number(await on(node, 'date -d "$(systemctl show -p ExecMainStartTimestamp --value k3s)" +%s'))))

test('a changed configuration is rolled out one server at a time, and the API stays', async () => {
  await bastion(['bash', '-c', 'cp settings.yaml ~/changed.yaml; printf "snapshots: { retention: 27 }\\n" >> ~/changed.yaml'])
  const before = await startedAt()
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
  assert.ok(after.every((at, index) => index === 0 || at > after[index - 1]!), 'one after the other')
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

test('a server is not restarted while another is down', async () => {
  await on('k3s-master-03', 'systemctl stop k3s')
  const run = await script('09_k3s_02_install_control_plane', '--yes', '--hosts', 'k3s-master-01')
  await on('k3s-master-03', 'systemctl start k3s')
  assert.is(run.exitCode, 1)
  assert.match(JSON.stringify(run.scripts), /the quorum would be at risk: etcd on k3s-master-03 is not healthy/)
  assert.equal(those(run, 'changed'), ['k3s-master-01: has the K3s configuration'])
})

test('the next run restarts what the last one could not', async () => {
  const run = await script('09_k3s_02_install_control_plane', '--yes')
  assert.is(run.exitCode, 0, run.text)
  assert.ok(those(run, 'changed').includes('k3s-master-01: runs what is configured'))
  assert.match(await kubectl('get', '--raw', '/readyz'), /ok/)
})

test.run()
