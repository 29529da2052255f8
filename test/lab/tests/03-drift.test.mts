import * as assert from 'uvu/assert'
import { labUp } from '../nodes.mts'
import { applyAll, kubectl, on, those } from './cluster.mts'
import { test } from './timed.mts'

await labUp()

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

test.run()
