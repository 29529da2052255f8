// Where one thing is wrong, the final validation says it in few lines, and says what it skipped.
import { test } from '../tests/timed.mts'
import * as assert from 'uvu/assert'
import { exec, kill, labUp, start } from '../nodes.mts'
import { applyAll, converge, nodesThatAre, on, everyNode, script, those, until, type Run } from '../tests/cluster.mts'

await labUp()
await converge()

const validation = (): Promise<Run> => script('09_k3s_09_final_validation')
const failures = (run: Run): string[] => those(run, 'failed')

test('a server that is cut off from the others: the API is asked at a sound one, and at most ten lines fail', async () => {
  const others = ['10.0.0.101', '10.0.0.102']
  await on('k3s-master-01', others.map((address) =>
    `iptables -t mangle -I PREROUTING -s ${address} -j DROP; iptables -t mangle -I POSTROUTING -d ${address} -j DROP`).join('\n'))
  try {
    const run = await validation()
    console.log(`  ${run.seconds.toFixed(0)} s, ${failures(run).length} lines:\n  ${failures(run).join('\n  ')}`)
    assert.is(run.exitCode, 1)
    assert.ok(failures(run).length <= 10, run.text)
    assert.ok(failures(run).every((line) => /^(k3s-master-0|cluster)/.test(line)), run.text)
  } finally {
    await on('k3s-master-01', others.map((address) =>
      `iptables -t mangle -D PREROUTING -s ${address} -j DROP; iptables -t mangle -D POSTROUTING -d ${address} -j DROP`).join('\n'))
  }
  await until('all nodes are back', 120, async () => (await nodesThatAre('Ready')).length === everyNode.length)
  await until('its API is ready', 120, async () => (await on('k3s-master-01', 'k3s kubectl get --raw /readyz')) === 'ok')
})

test('the load balancer of the API is off: one line says that it is, and all else is looked at through a server', async () => {
  await kill('lb-haproxy')
  try {
    const run = await validation()
    console.log(`  ${run.seconds.toFixed(0)} s, ${failures(run).length} lines:\n  ${failures(run).join('\n  ')}`)
    assert.match(run.text, /every server answers by itself, so it is the load balancer/)
    assert.match(run.text, /From now on https:\/\/10\.0\.0\.10\d:6443 is asked/)
    assert.ok(failures(run).length <= 10, run.text)
  } finally {
    await start('lb-haproxy')
  }
})

test('with all that given back the cluster is fit', async () => {
  for (let tries = 0; tries < 20; tries++) {
    const ready = await exec('bastion', 'timeout 5 bash -c "exec 3<>/dev/tcp/10.0.0.10/6443"')
    if (ready.exitCode === 0) break
  }
  const again = await applyAll('--yes')
  assert.is(again.exitCode, 0, again.text)
  assert.equal(failures(await validation()), [])
})

test.run()
