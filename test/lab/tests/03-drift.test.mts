import * as assert from 'uvu/assert'
import { labUp } from '../nodes.mts'
import { applyAll, converge, kubectl, on, script, those } from './cluster.mts'
import { test } from './timed.mts'

await labUp()
await converge() // the contract's tests leave addons that are just starting

test('nodes that drifted are found by a plan and mended by an apply', async () => {
  const podsBefore = await kubectl('get', 'pods', '-A', '-o', 'jsonpath={range .items[*]}{.metadata.uid} {.status.containerStatuses[0].restartCount}{"\\n"}{end}')
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
  const podsAfter = await kubectl('get', 'pods', '-A', '-o', 'jsonpath={range .items[*]}{.metadata.uid} {.status.containerStatuses[0].restartCount}{"\\n"}{end}')
  assert.is(podsAfter, podsBefore, 'no container was restarted')
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
