import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { openPage } from '../../support/browser.mts'
import { bastion, labUp } from '../nodes.mts'
import { everyNode, kubectl, masters, nodesThatAre, on, script, those, until } from './cluster.mts'
import { test } from './timed.mts'

await labUp()

const folder = await mkdtemp(join(tmpdir(), 'keybuzz-report-'))
test.after(() => rm(folder, { recursive: true }))

const fetched = async (file: string): Promise<string> => {
  const { stdout } = await bastion(['cat', file])
  const copy = join(folder, 'page.html')
  await writeFile(copy, stdout)
  return copy
}

test('a sound cluster is fit: every check holds, with its evidence, as JSON, as a page and as a bundle', async () => {
  const run = await script('09_k3s_09_final_validation', '--html', '/root/report.html', '--bundle', '/root/bundle.tar.gz')
  assert.is(run.exitCode, 0, run.text)
  assert.equal(run.scripts.map(({ id }) => id.slice(-2)), ['01', '02', '03', '04', '05', '09'])
  assert.equal(those(run, 'failed', 'changed', 'pending', 'unknown'), [])
  for (const fact of [
    'k3s-master-01: has a sound etcd', 'cluster: has 3 voters and one leader', 'k3s-worker-05: has certificates that last',
    'cluster: has the capacity that the settings ask for', 'cluster: has no secret in the clear in etcd (CIS 1.2.27)',
    'k3s-worker-03: is closed on its public side', 'k3s-worker-04: has pods that resolve names',
    'cluster: carries a canary through every node and both load balancers'
  ]) assert.ok(those(run, 'ok').includes(fact), fact)
  assert.match(run.text, /has a sound etcd: (leads|follows); \d+ MiB of 2048 MiB/)
  assert.is((await kubectl('get', 'ingress', '-A', '-o', 'name')), '', 'the canary is gone')

  const page = await openPage(await fetched('/root/report.html'))
  assert.match(page.headings[0]!, /The cluster is fit/)
  assert.equal([page.requests, page.complaints], [[], []])
  assert.ok((await openPage(await fetched('/root/report.html'), { width: 400 })).overflow <= 0)
})

test('the bundle has what is needed from every node, and no secret', async () => {
  const { stdout } = await bastion(['bash', '-c', `rm -rf /tmp/bundle; mkdir /tmp/bundle; cd /tmp/bundle
tar xzf /root/bundle.tar.gz; find . -type f | wc -l; stat -c %a /root/bundle.tar.gz; cat */errors.txt
grep -rlE 'BEGIN [A-Z ]*PRIVATE KEY' . || true
for secret in ~/.keybuzz/secrets/*; do value=$(<$secret); grep -rlF "\${value##*:}" . && echo "leaked $secret"; done
for node in ${everyNode.join(' ')}; do ls -d */*/$node* >/dev/null 2>&1 || ls -d */*$node* >/dev/null || echo "nothing of $node"; done
rm -rf /tmp/bundle`])
  const [files, mode, ...rest] = stdout.trim().split('\n')
  assert.ok(Number(files) > 10, stdout)
  assert.equal([mode, ...rest], ['600', 'Everything could be had.'])
})

test('what does not hold is named, and nothing is changed', async () => {
  await kubectl('-n', 'kube-system', 'delete', 'pdb', 'coredns')
  await on('k3s-worker-02', "ufw delete allow in on cni0 from 10.42.0.0/16 comment 'keybuzz-k3s: pods to their node' >/dev/null")
  const run = await script('09_k3s_09_final_validation')
  assert.is(run.exitCode, 1)
  assert.ok(those(run, 'failed').includes('k3s-worker-02: has the firewall of the cluster'))
  assert.ok(those(run, 'failed').includes('cluster: has CoreDNS with 7 replicas and the nameservers'))
  assert.match(run.text, /Hint: run 09_k3s_04, which mends it/)
  assert.is(await kubectl('-n', 'kube-system', 'get', 'pdb', 'coredns', '--ignore-not-found'), '')
  for (const mends of ['09_k3s_01_prepare', '09_k3s_04_bootstrap_addons']) assert.is((await script(mends, '--yes')).exitCode, 0)
})

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
  assert.equal(rows.map(({ what }) => what.replace(/ .*/, '')).length, 5)
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
