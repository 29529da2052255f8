import * as assert from 'uvu/assert'
import { labUp } from '../nodes.mts'
import { applyAll as applyWhole, converge, kubectl, on, script, those } from './cluster.mts'
import { test } from './timed.mts'

await labUp()
// What drifts here ends with the nodes; 04 has the pods of the addons, which the contract's tests leave just starting.
const applyAll = (...flags: string[]) => applyWhole('--to', '04', ...flags)
await converge('--to', '04')

/** How often the containers of each pod were restarted, by namespace, name and node of the pod. */
const restarts = async (): Promise<Map<string, string>> => {
  const columns = '{.metadata.namespace}/{.metadata.name} on {.spec.nodeName}={.status.containerStatuses[*].restartCount}'
  const lines = (await kubectl('get', 'pods', '-A', '-o', `jsonpath={range .items[*]}${columns}{"\\n"}{end}`)).split('\n')
  // What drifts on these two cuts their pods off from the API or from others, and may end them by itself.
  const cutOff = [' on k3s-master-02=', ' on k3s-worker-01=']
  return new Map(lines.filter((line) => !cutOff.some((node) => line.includes(node))).map((line) => line.split('=') as [string, string]))
}

test('nodes that drifted are found by a plan and mended by an apply', async () => {
  const before = await restarts()
  await Promise.all([
    on('k3s-worker-01', `rule=$(ufw show added | grep -m1 8472 | sed "s/ comment.*//"); \${rule/ufw /ufw delete }`),
    on('k3s-worker-02', `iptables -D $(iptables -S ufw-user-input | grep -m1 10250 | cut -d' ' -f2-)`),
    on('k3s-worker-03', 'echo "# edited" >> /etc/systemd/system/k3s-agent.service'),
    kubectl('label', 'node', 'k3s-worker-04', 'keybuzz.io/pool-'),
    on('k3s-worker-05', 'chattr -i /etc/resolv.conf; ln -sf /run/systemd/resolve/stub-resolv.conf /etc/resolv.conf'),
    on('k3s-master-02', 'sysctl -qw net.ipv4.ip_forward=0')
  ])
  const plan = await applyAll('--plan')
  assert.is(plan.exitCode, 2, plan.text)
  assert.equal(those(plan, 'pending').toSorted(), [
    'k3s-master-02: has the sysctls',
    'k3s-worker-01: has the firewall of the cluster',
    'k3s-worker-02: has the firewall of the cluster',
    'k3s-worker-03: has the unit k3s-agent',
    'k3s-worker-03: runs what is configured',
    'k3s-worker-04: is in the pool observability',
    'k3s-worker-05: has a resolv.conf of its own, immutable'
  ])
  assert.equal(those(plan, 'failed'), [])

  const apply = await applyAll('--yes')
  assert.is(apply.exitCode, 0, apply.text)
  assert.ok(those(apply, 'changed').includes('k3s-worker-03: runs what is configured'))
  const again = await applyAll('--plan')
  assert.is(again.exitCode, 0, again.text)
  const after = await restarts()
  // An autoscaler may have taken a pod away meanwhile: those that are there still are compared.
  const restarted = [...after].filter(([pod, count]) => before.has(pod) && before.get(pod) !== count)
  assert.equal(restarted.map(([pod, count]) => `${pod}: ${before.get(pod)} before, ${count} now`), [], 'no container was restarted')
  assert.equal([...before.keys()].filter((pod) => pod.startsWith('kube-system/') && !after.has(pod)), [], 'no pod was replaced')
})

test('what the next boot would undo is named before it comes, with the file', async () => {
  await Promise.all([
    on('k3s-worker-01', 'echo vm.overcommit_memory=2 > /etc/sysctl.d/99-hardening.conf'),
    on('k3s-worker-02', 'cp /etc/ufw/sysctl.conf /root/sysctl.before; echo net/ipv4/ip_forward=0 >> /etc/ufw/sysctl.conf'),
    on('k3s-worker-03', 'echo ubuntu-8gb > /etc/hostname'),
    on('k3s-worker-04', `printf '%s\\n' '[Swap]' What=/swapfile '[Install]' WantedBy=swap.target > /etc/systemd/system/swapfile.swap
systemctl enable --quiet swapfile.swap`)
  ])
  const plan = await script('09_k3s_01_prepare', '--plan').finally(() => Promise.all([
    on('k3s-worker-01', 'rm /etc/sysctl.d/99-hardening.conf'),
    on('k3s-worker-02', 'cat /root/sysctl.before > /etc/ufw/sysctl.conf; rm /root/sysctl.before'),
    on('k3s-worker-03', 'hostname > /etc/hostname')
  ]))
  assert.equal(those(plan, 'failed').toSorted(), [
    'k3s-worker-01: has no file that undoes the sysctls at boot',
    'k3s-worker-02: has no file that undoes the sysctls at boot',
    'k3s-worker-03: is called k3s-worker-03'
  ])
  assert.equal(those(plan, 'pending'), ['k3s-worker-04: has no unit that turns swap on at boot'])
  const text = JSON.stringify(plan.scripts)
  assert.match(text, /\/etc\/sysctl\.d\/99-hardening\.conf sets vm\.overcommit_memory = 2, expected 1/)
  assert.match(text, /\/etc\/ufw\/sysctl\.conf sets net\.ipv4\.ip_forward = 0, expected 1/)
  assert.match(text, /\/etc\/hostname says ubuntu-8gb/)

  const apply = await script('09_k3s_01_prepare', '--yes')
  assert.is(apply.exitCode, 0, apply.text)
  assert.equal(those(apply, 'changed'), ['k3s-worker-04: has no unit that turns swap on at boot'])
  await on('k3s-worker-04', 'rm /etc/systemd/system/swapfile.swap; systemctl daemon-reload')
})

test.run()
