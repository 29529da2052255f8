// ctrl-C in the midst of a script that works on the cluster, not on nodes.
import { test } from '../tests/timed.mts'
import * as assert from 'uvu/assert'
import { bastionStart, labUp } from '../nodes.mts'
import { converge, kubectl, leftovers, on, script, those, until } from '../tests/cluster.mts'

await labUp()
await converge()

for (const [id, object] of [
  ['09_k3s_04_bootstrap_addons', ['-n', 'kube-system', 'configmap/coredns-custom']],
  ['09_k3s_05_ingress_daemonset', ['-n', 'nginx-ingress', 'configmap/nginx-config']]
] as const) {
  test(`${id}, interrupted once it has begun, ends with 130, leaves nothing behind, and goes on from there`, async () => {
    const [flag, namespace, name] = object
    await kubectl('delete', flag, namespace, name)
    const run = await bastionStart([`./${id}.mts`, '--yes'])
    await until('the object is there again', 120, async () => (await kubectl('get', flag, namespace, name, '--ignore-not-found')) !== '')
    await run.kill('INT')
    assert.is((await run.done).exitCode, 130)
    assert.equal(await leftovers(), [])
    assert.is(await on('k3s-master-01', 'ls -d /run/keybuzz-k3s.lock 2>/dev/null || true'), '')
    assert.is(await kubectl('get', 'namespace', 'keybuzz-volume-trial', '--ignore-not-found'), '')
    const again = await script(id, '--yes')
    assert.is(again.exitCode, 0, again.text)
    assert.equal(those(again, 'failed', 'skipped'), [])
  })
}

test.run()
