import * as assert from 'uvu/assert'
import { bastion, bastionStart, kill, labUp, reset, start } from '../nodes.mts'
import { applyAll as applyWhole, everyNode, kubectl, leftovers, masters, nodesThatAre, on, script, those, until } from './cluster.mts'
import { test } from './timed.mts'

await labUp()

// What these tests break and mend ends with the nodes.
const applyAll = (...flags: string[]) => applyWhole('--to', '03', ...flags)

test('one host that does not answer fails alone, and the others finish', async () => {
  await kill('k3s-worker-05')
  const run = await script('09_k3s_01_prepare', '--yes')
  await start('k3s-worker-05')
  assert.is(run.exitCode, 1)
  assert.equal(those(run, 'failed'), ['k3s-worker-05: answers over ssh'])
  assert.match(run.text, /k3s-worker-05 .*unreachable: ssh root@10\.0\.0\.114 exit 255.*Hint: ssh -v root@10\.0\.0\.114/)
  assert.ok(those(run, 'ok').includes('k3s-worker-04: has the firewall of the cluster'))
})

test('the first server, wiped, is rebuilt from the others, and nothing of the cluster is lost', async () => {
  await kubectl('create', 'configmap', 'kept', '--from-literal=answer=42')
  await reset(['k3s-master-01'])
  const run = await applyAll('--yes')
  assert.is(run.exitCode, 0, run.text)
  assert.is(await kubectl('get', 'configmap', 'kept', '-o', 'jsonpath={.data.answer}'), '42')
  assert.equal(await nodesThatAre('EtcdIsVoter'), masters)
  assert.equal(await nodesThatAre('Ready'), everyNode)
  await kubectl('delete', 'configmap', 'kept')
})

test('a server that dies while workers join stops none of them', async () => {
  const fresh = ['k3s-worker-01', 'k3s-worker-02']
  await reset(fresh)
  const prepared = await script('09_k3s_01_prepare', '--yes')
  assert.is(prepared.exitCode, 0, prepared.text)
  const joining = await bastionStart(['./09_k3s_03_join_workers.mts', '--yes'])
  await until('a worker starts', 120, async () => (await on('k3s-worker-01', 'systemctl is-active k3s-agent || true')) !== 'inactive')
  await kill('k3s-master-03')
  const { exitCode, stdout } = await joining.done
  await start('k3s-master-03')
  assert.is(exitCode, 1, stdout) // the dead server itself
  await until('the workers are Ready', 60, async () => {
    const ready = await nodesThatAre('Ready')
    return fresh.every((node) => ready.includes(node))
  })
  const again = await applyAll('--yes')
  assert.is(again.exitCode, 0, again.text)
})

test('ctrl-C ends with 130, leaves nothing running on the nodes, and gives the lock back', async () => {
  await on('k3s-worker-05', 'chattr -i /etc/resolv.conf; rm /etc/resolv.conf')
  const run = await bastionStart(['./09_k3s_01_prepare.mts', '--yes'])
  await until('the run has the lock', 60, async () => (await on('k3s-master-01', 'ls /run')).includes('keybuzz-k3s.lock'))
  await run.kill('INT')
  assert.is((await run.done).exitCode, 130)
  await until('nothing runs on', 30, async () => (await leftovers()).length === 0)
  assert.not.match(await on('k3s-master-01', 'ls /run'), /keybuzz-k3s/)
})

test('two runs at once: the second says who is at work', async () => {
  await on('k3s-worker-05', 'if [ -f /etc/resolv.conf ]; then chattr -i /etc/resolv.conf; rm /etc/resolv.conf; fi')
  await on('k3s-master-01', `mkdir /run/keybuzz-k3s.lock
printf '%s\\n' alice@elsewhere 4711 2026-11-22T10:31:04Z 03_join_workers other-id > /run/keybuzz-k3s.lock/holder`)
  const { exitCode, stderr } = await bastion(['./09_k3s_01_prepare.mts', '--yes'])
  await on('k3s-master-01', 'rm -r /run/keybuzz-k3s.lock')
  assert.is(exitCode, 1)
  assert.match(stderr, /alice@elsewhere is at work on the cluster: 03_join_workers since 2026-11-22T10:31:04Z \(process 4711\)/)
  assert.match(stderr, /--force-unlock/)
  assert.is((await applyAll('--yes')).exitCode, 0)
})

test.run()
