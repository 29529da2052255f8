import * as assert from 'uvu/assert'
import { exec, labUp } from '../nodes.mts'
import { on, script, those } from './cluster.mts'
import { test } from './timed.mts'

await labUp()

const node = 'k3s-worker-05'
const prepare = (...flags: string[]) => script('09_k3s_01_prepare', '--hosts', node, ...flags)

// ufw runs before.init when it starts: here it stops sshd, as a rule that locks the bastion out would.
const lockOut = `ufw disable
cp -a /etc/ufw/before.init /root/before.init
printf '#!/bin/sh\\n[ "$1" != start ] || systemctl stop ssh\\n' > /etc/ufw/before.init
chmod 0750 /etc/ufw/before.init`
const letIn = `cp -a /root/before.init /etc/ufw/before.init
systemctl start ssh`

test('a change of the firewall that locks the bastion out is taken back by the node, and says so', async () => {
  await on(node, lockOut)
  try {
    const run = await prepare('--yes')
    assert.is(run.exitCode, 1, run.text)
    assert.equal(those(run, 'failed'), [`${node}: has the firewall of the cluster`])
    assert.match(run.text, /no new ssh connection got through/)
    assert.match(run.text, /The node has its former firewall back\./)
    assert.is(await on(node, 'ufw status'), 'Status: inactive')
  } finally {
    await on(node, letIn)
  }
  const mended = await prepare('--yes')
  assert.is(mended.exitCode, 0, mended.text)
  assert.equal(those(mended, 'changed'), [`${node}: has the firewall of the cluster`])
})

test('a rule of the operators that opens etcd or VXLAN to everybody is told with its number, and never touched', async () => {
  await on(node, 'ufw allow 10250/tcp; ufw allow 8472/udp')
  const numbered = await on(node, 'ufw status numbered')
  const plan = await prepare('--plan')
  assert.equal(those(plan, 'failed').slice(0, 1), [`${node}: has the firewall of the cluster`])
  assert.match(plan.text, /"ufw allow 8472\/udp" opens 8472\/udp beyond the private network/)
  for (const port of ['10250/tcp', '8472/udp']) {
    const number = new RegExp(`^\\[ *(\\d+)\\] ${port} +ALLOW IN +Anywhere *$`, 'm').exec(numbered)?.[1]
    assert.ok(plan.text.includes(`rule ${number} of \`ufw status numbered\`, "ufw allow ${port}" opens ${port}`), plan.text)
  }
  assert.match(await on(node, 'ufw show added'), /^ufw allow 8472\/udp$/m)
  await on(node, 'ufw delete allow 8472/udp; ufw delete allow 10250/tcp')
  assert.is((await prepare('--plan')).exitCode, 0)
})

test('what Prometheus reads on the nodes is open to those it may run on, and to no other one', async () => {
  const reaches = async (from: string, target: string): Promise<boolean> =>
    (await exec(from, `timeout 2 bash -c 'exec 3<>/dev/tcp/${target}'`)).exitCode === 0
  const [etcd, ingress] = ['10.0.0.100/2381', '10.0.0.112/9113']
  for (const from of ['k3s-worker-04', 'k3s-worker-05']) {
    for (const target of [etcd, ingress]) assert.ok(await reaches(from, target), `${from} does not reach ${target}`)
  }
  for (const from of ['k3s-worker-02', 'k3s-master-02', 'lb-haproxy']) {
    for (const target of [etcd, ingress]) assert.not(await reaches(from, target), `${from} reaches ${target}`)
  }
})

test.run()
