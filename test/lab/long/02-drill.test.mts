import * as assert from 'uvu/assert'
import { bastion, labUp } from '../nodes.mts'
import { converge, everyNode, masters, nodesThatAre, on, until } from '../tests/cluster.mts'
import { test } from '../tests/timed.mts'

await labUp()
await converge()

type Tally = { failed: number; requests: number; outage: number }
type Row = { what: string; target: string; api: Tally; http: Tally; rescheduled?: number; restored: number }

// At a terminal, which `script` is; the answer is typed when the question is there.
const drill = async (): Promise<{ exitCode: number; drill: Row[] }> => {
  const { stdout, stderr } = await bastion(['bash', '-c', `rm -f /tmp/keys /tmp/typescript; mkfifo /tmp/keys; exec 3<>/tmp/keys
script -qefc 'stty cols 140; ./09_k3s_09_final_validation.mts --drill --json > /root/drill.json' /tmp/typescript <&3 > /dev/null & drill=$!
until grep -q 'Type "drill"' /tmp/typescript 2>/dev/null; do kill -0 $drill || break; sleep 1; done
sleep 1; printf 'drill\\r' >&3
wait $drill; tail -n 40 /tmp/typescript >&2; cat /root/drill.json`])
  if (!stdout.startsWith('{')) throw new Error(stderr)
  const result = JSON.parse(stdout) as { exitCode: number; drill: Row[] }
  if (result.exitCode !== 0) throw new Error(stderr)
  return result
}

test('the drill takes each part away under traffic, puts it back, and tells what anybody noticed', async () => {
  const { drill: rows } = await drill()
  assert.equal(rows.map(({ what }) => what.replace(/ .*/, '')).length, 6)
  for (const { what, target, api, http, rescheduled } of rows) {
    console.log(`  ${what} (${target}): API away ${api.outage.toFixed(1)} s, ${api.failed} of ${api.requests} failed; HTTP ${http.outage.toFixed(1)} s, ${http.failed} of ${http.requests}${rescheduled === undefined ? '' : `; pods elsewhere after ${rescheduled.toFixed(0)} s`}`)
    assert.ok(api.requests > 10 && http.requests > 20)
    assert.ok(api.failed < api.requests / 2 && http.failed < http.requests / 2)
  }
  assert.ok(rows.some(({ rescheduled }) => rescheduled !== undefined))
  await until('all are back', 120, async () => (await nodesThatAre('Ready')).length === everyNode.length)
  assert.equal(await nodesThatAre('EtcdIsVoter'), masters)
  const left = await Promise.all(everyNode.map((node) => on(node, `iptables -t mangle -S | grep KEYBUZZ-DRILL || true
ls /run/systemd/system/k3s.service.d/keybuzz-drill.conf 2>/dev/null || true`)))
  assert.equal(left, everyNode.map(() => ''))
})

test.run()
