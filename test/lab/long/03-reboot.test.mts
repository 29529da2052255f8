import { test } from '../tests/timed.mts'
import * as assert from 'uvu/assert'
import { kill, labUp, start } from '../nodes.mts'
import { applyAll, everyNode, masters, nodesThatAre, on, those, until } from '../tests/cluster.mts'

await labUp()
const converged = await applyAll('--yes')
if (converged.exitCode !== 0) throw new Error(converged.text)

const bootOf = (node: string): Promise<string> => on(node, 'stat -c %Y /proc/1')

test('every node loses its power at once: all come back by themselves, and an apply has nothing to change', async () => {
  const before = await Promise.all(everyNode.map(bootOf))
  await Promise.all(everyNode.map(kill))
  await Promise.all(everyNode.map(start))
  const after = await Promise.all(everyNode.map(bootOf))
  assert.ok(after.every((boot, index) => boot !== before[index]), 'a node was not restarted')
  await until('the servers have their quorum', 300, async () => (await nodesThatAre('EtcdIsVoter')).length === masters.length)
  await until('every node is Ready', 300, async () => (await nodesThatAre('Ready')).length === everyNode.length)

  const run = await applyAll('--yes')
  assert.equal(those(run, 'changed', 'pending', 'unknown', 'failed'), [], run.text)
  assert.is(run.exitCode, 0, run.text)
})

test.run()
