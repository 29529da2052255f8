import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { openPage } from '../../support/browser.mts'
import { bastion, labUp } from '../nodes.mts'
import { everyNode, kubectl, on, script, those } from './cluster.mts'
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
  assert.equal(run.scripts.map(({ id }) => id.slice(-2)), ['01', '02', '03', '04', '05', '06', '07', '08', '09'])
  assert.equal(those(run, 'failed', 'changed', 'pending', 'unknown'), [])
  for (const fact of [
    'k3s-master-01: has a sound etcd', 'cluster: has 3 voters and one leader', 'k3s-worker-05: has certificates that last',
    'cluster: has the capacity that the settings ask for', 'cluster: has no secret in the clear in etcd (CIS 1.2.27)',
    'k3s-worker-03: is closed on its public side', 'k3s-worker-04: has pods that resolve names',
    'cluster: carries a canary through every node and both load balancers'
  ]) assert.ok(those(run, 'ok').includes(fact), fact)
  assert.match(run.text, /has a sound etcd: (leads|follows); \d+ MiB of 2048 MiB/)
  assert.not.match(await kubectl('get', 'ingress', '-A', '-o', 'name'), /canary/, 'the canary is gone')

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

test.run()
