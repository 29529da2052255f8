import { stripVTControlCharacters } from 'node:util'
import { test } from '../tests/timed.mts'
import * as assert from 'uvu/assert'
import { bastion, labUp } from '../nodes.mts'
import { applyAll, on } from '../tests/cluster.mts'

await labUp()
const converged = await applyAll('--yes')
if (converged.exitCode !== 0) throw new Error(converged.text)

const node = 'k3s-worker-05'
const lock = '/run/keybuzz-k3s.lock'

// At a terminal, which `script` is; the answer is typed when the question is there.
const prove = (): ReturnType<typeof bastion> => bastion(['bash', '-c', `rm -f /tmp/keys /tmp/typescript; mkfifo /tmp/keys; exec 3<>/tmp/keys
script -qefc 'stty cols 140; ./09_k3s_test_healthcheck.mts --prove ${node}' /tmp/typescript <&3 > /dev/null & prove=$!
until grep -q 'Type "${node}"' /tmp/typescript 2>/dev/null; do kill -0 $prove || break; sleep 1; done
sleep 1; printf '${node}\\r' >&3
wait $prove; code=$?; cat /tmp/typescript; exit $code`])

test('--prove touches nothing while another run is at work, and says whose', async () => {
  await on('k3s-master-01', `mkdir ${lock}
printf '%s\\n' alice@elsewhere 4711 2026-11-22T10:31:04Z 05_ingress_daemonset other-id > ${lock}/holder`)
  const { exitCode, stdout } = await prove().finally(() => on('k3s-master-01', `rm -r ${lock}`))
  assert.is(exitCode, 1, stdout)
  assert.match(stdout, /alice@elsewhere is at work on the cluster: 05_ingress_daemonset since 2026-11-22T10:31:04Z/)
  assert.not.match(stdout, /is unhealthy while/)
})

test('--prove shows what the check detects, and gives the lock back', async () => {
  const { exitCode, stdout } = await prove()
  assert.is(exitCode, 0, stdout)
  const said = stripVTControlCharacters(stdout)
  for (const what of ['it drains', 'nginx is stopped', 'its controller hangs']) assert.match(said, new RegExp(`✓ is unhealthy while ${what}`))
  assert.not.match(await on('k3s-master-01', 'ls /run'), /keybuzz-k3s/)
})

test.run()
