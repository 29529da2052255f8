import * as assert from 'uvu/assert'
import { readSettings } from '../../../lib/input/settings.mts'
import { bastion, kill, labUp, start } from '../nodes.mts'
import { converge, everyNode, kubectl, nodesThatAre, on, script, those, until } from './cluster.mts'
import { test } from './timed.mts'
import { failingFor, underTraffic, type Traffic } from './traffic.mts'

await labUp()
const converged = await converge()

type Tally = Traffic['http']
const told = (what: string, { requests, failed, outage, slowest, why }: Tally): void =>
  console.log(`  ${what}: ${failed} of ${requests} failed, away for ${outage.toFixed(1)} s, slowest answer ${slowest.toFixed(1)} s ${failed > 0 ? JSON.stringify(why) : ''}`)

test('a rolling update under fifty requests a second through both load balancers fails none', async () => {
  const { http } = await underTraffic(40, async () => {
    await kubectl('-n', 'nginx-ingress', 'rollout', 'restart', 'daemonset/nginx-ingress')
    await kubectl('-n', 'nginx-ingress', 'rollout', 'status', 'daemonset/nginx-ingress', '--timeout=8m')
  })
  told('HTTP', http)
  assert.ok(http.requests > 1000)
  assert.is(http.failed, 0)
})

// As a resolver does: a name that is not answered is asked for again. Tells how many were never answered, of how many.
const looksUp = (pods: string[]): Promise<string[]> =>
  Promise.all(pods.map((pod) => kubectl('-n', 'keybuzz-netcheck', 'exec', pod, '--', 'sh', '-c', `
lost=0 asked=0; end=$(($(date +%s) + 30))
while [ $(date +%s) -lt $end ]; do
  asked=$((asked + 1)); answered=
  for try in 1 2 3; do if timeout 2 nslookup kubernetes.default.svc.cluster.local >/dev/null 2>&1; then answered=1; break; fi; done
  [ -n "$answered" ] || lost=$((lost + 1))
  sleep 0.2
done
echo "$lost $asked"`)))

test('a node powered off: requests fail only until the check has seen it, and pods elsewhere keep their names', async () => {
  const { ingress: { health_check: { interval, timeout, retries } } } = await readSettings('test/lab/settings.yaml')
  const window = retries * (interval + timeout)
  const nodes = (await kubectl('-n', 'kube-system', 'get', 'pods', '-l', 'k8s-app=kube-dns', '-o', 'jsonpath={.items[*].spec.nodeName}')).split(' ')
  const victim = nodes.find((name) => name.includes('worker')) ?? 'k3s-worker-01'
  const others = everyNode.filter((name) => name !== victim)
  const pods = new Map((await kubectl('-n', 'keybuzz-netcheck', 'get', 'pods', '-o', 'jsonpath={range .items[*]}{.spec.nodeName} {.metadata.name}{"\\n"}{end}'))
    .split('\n').map((line) => line.split(' ') as [string, string]))

  let lookups: string[] = []
  let seconds = 0
  const { http, api, ...traffic } = await underTraffic(40, async () => {
    const began = Date.now()
    await kill(victim)
    lookups = await looksUp(others.map((name) => pods.get(name)!))
    seconds = (Date.now() - began) / 1000
  }).finally(() => start(victim))

  told(`HTTP, ${victim} dead for ${seconds.toFixed(0)} s`, http)
  told('API', api)
  const spread = failingFor(traffic)
  console.log(`  the failed requests were sent within ${spread.toFixed(1)} s; the check's window is ${window} s`)
  assert.ok(spread <= window, `failed requests were sent within ${spread} s, longer than the check's ${window} s`)
  const counts = lookups.map((line) => line.split(' ').map(Number))
  console.log(`  names without an answer: ${others.map((name, at) => `${name} ${counts[at]!.join(' of ')}`).join(', ')}`)
  assert.ok(counts.every(([, asked = 0]) => asked > 1), JSON.stringify(counts))
  // A node without a CoreDNS of its own asks any of them at random, the dead one too, until the cluster knows of its death.
  const withOwn = (name: string): boolean => nodes.includes(name)
  assert.equal(others.filter((name, at) => withOwn(name) && counts[at]![0] !== 0), [])
  assert.ok(others.every((name, at) => withOwn(name) || counts[at]![0]! * 20 < counts[at]![1]!), JSON.stringify(counts))
  await until('the node is back', 90, async () => (await nodesThatAre('Ready')).includes(victim))
})

test('an Ingress with an invalid annotation is named, with the cause', async () => {
  const manifest = JSON.stringify({
    apiVersion: 'networking.k8s.io/v1', kind: 'Ingress',
    metadata: { namespace: 'keybuzz-netcheck', name: 'wrong', annotations: { 'nginx.org/proxy-read-timeout': 'for ever' } },
    spec: { ingressClassName: 'nginx', rules: [{ host: 'wrong.keybuzz.internal', http: { paths: [{ path: '/', pathType: 'Prefix', backend: { service: { name: 'netcheck', port: { number: 80 } } } }] } }] }
  })
  await bastion(['bash', '-c', `/artifacts/k3s kubectl --kubeconfig ~/.kube/config apply -f -`], { input: manifest })
  try {
    let run = converged
    await until('the controller has said no', 30, async () => {
      run = await script('09_k3s_05_ingress_daemonset', '--plan')
      return those(run, 'failed').includes('cluster: has refused no Ingress, and nothing of its configuration')
    })
    assert.match(JSON.stringify(run.scripts), /Ingress keybuzz-netcheck\/wrong: .*proxy-read-timeout/)
  } finally {
    await kubectl('-n', 'keybuzz-netcheck', 'delete', 'ingress', 'wrong')
  }
})

test("an Ingress without a class is told as nobody's, one with the old annotation as ours", async () => {
  const ingress = (name: string, annotations: object) => ({
    apiVersion: 'networking.k8s.io/v1', kind: 'Ingress', metadata: { namespace: 'keybuzz-netcheck', name, annotations },
    spec: { rules: [{ host: `${name}.keybuzz.internal`, http: { paths: [{ path: '/', pathType: 'Prefix', backend: { service: { name: 'netcheck', port: { number: 80 } } } }] } }] }
  })
  const items = [ingress('no-class', {}), ingress('old-class', { 'kubernetes.io/ingress.class': 'nginx' })]
  await bastion(['bash', '-c', `/artifacts/k3s kubectl --kubeconfig ~/.kube/config apply -f -`], { input: JSON.stringify({ apiVersion: 'v1', kind: 'List', items }) })
  try {
    let run = converged
    await until('the controller has taken its own', 30, async () => {
      run = await script('09_k3s_05_ingress_daemonset', '--plan')
      return run.exitCode === 0
    })
    assert.match(JSON.stringify(run.scripts), /nobody's: keybuzz-netcheck\/no-class\\nby the old annotation kubernetes\.io\/ingress\.class: keybuzz-netcheck\/old-class/)
  } finally {
    await kubectl('-n', 'keybuzz-netcheck', 'delete', 'ingress', 'no-class', 'old-class')
  }
})

test('PROXY protocol at one end only is named', async () => {
  await bastion(['bash', '-c', 'sed s/proxy-protocol$/none/ settings.yaml > ~/one-end.yaml; ! cmp -s settings.yaml ~/one-end.yaml'])
  const run = await script('09_k3s_test_healthcheck', '--settings', '/root/one-end.yaml')
  assert.is(run.exitCode, 1)
  assert.is(those(run, 'failed').length, everyNode.length)
  assert.match(JSON.stringify(run.scripts), /answers only with the PROXY protocol/)
})

test('a process that has port 80 is named, with its node', async () => {
  const node = 'k3s-worker-05'
  const squat = `systemctl stop k3s-agent
for pid in $(pgrep -x nginx-ingress) $(pgrep -x nginx); do kill -9 $pid 2>/dev/null || true; done
systemd-run --quiet --unit=squatter --property=Restart=always --property=RestartSec=0.2 python3 -m http.server 80
until ss -Hltnp sport = :80 | grep -q python3; do sleep 0.2; done
systemctl start k3s-agent`
  const run = await on(node, squat)
    .then(() => script('09_k3s_05_ingress_daemonset', '--plan'))
    .finally(() => on(node, 'systemctl stop squatter; systemctl start k3s-agent'))
  assert.is(run.exitCode, 1)
  assert.ok(those(run, 'failed').includes(`${node}: has 80 and 443 for the ingress`), run.text)
  assert.match(JSON.stringify(run.scripts), /0\.0\.0\.0:80 is taken by python3 \(process \d+\): .*http\.server 80/)
  const again = await script('09_k3s_05_ingress_daemonset', '--yes')
  assert.is(again.exitCode, 0, again.text)
})

test.run()
