// What takes the applications' nodes, replicas and neighbours minutes to show.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import type { Pod } from '../../../lib/cluster/pods.mts'
import { bastion, bastionStart, kill, labUp, start } from '../nodes.mts'
import { converge, kubectl, nodesThatAre, everyNode, script, those, until, type Run } from '../tests/cluster.mts'
import { changed, hosts, request } from '../tests/apps.mts'
import { test } from '../tests/timed.mts'
import { underTraffic } from '../tests/traffic.mts'

await labUp()
await converge()

const deploy = (...flags: string[]): Promise<Run> => script('09_k3s_06_deploy_core_apps', ...flags)
// The node of a pod that is there to stay.
const nodeOf = async (namespace: string, app: string): Promise<string> => {
  const { items } = JSON.parse(await kubectl('-n', namespace, 'get', 'pods', '-l', `app=${app}`, '-o', 'json')) as { items: Pod[] }
  return items.find(({ metadata }) => metadata.deletionTimestamp === undefined)?.spec.nodeName ?? ''
}
const api = { host: hosts.api[0], path: hosts.api[1] }

test('a worker is drained under fifty requests a second, and none fails', async () => {
  const node = await nodeOf('keybuzz-api', 'api')
  try {
    const { http } = await underTraffic(40, async () => {
      await kubectl('drain', node, '--ignore-daemonsets', '--delete-emptydir-data', '--timeout=400s')
    }, { app: api })
    assert.ok(http.requests > 500)
    assert.is(http.failed, 0, JSON.stringify(http))
  } finally {
    await kubectl('uncordon', node)
  }
})

test("the node of n8n's main loses its power: webhooks go on, and main comes back elsewhere", async () => {
  const node = await nodeOf('keybuzz-n8n', 'n8n-main')
  const began = Date.now()
  let lost = 0
  let asked = 0
  try {
    await kill(node)
    await until('main is ready on another node', 300, async () => {
      asked++
      const { status } = await request(hosts.n8n[0], '/webhook/lab', '-m', '10', '-X', 'POST', '-d', '{}')
      if (status !== 200) lost++
      const now = await nodeOf('keybuzz-n8n', 'n8n-main').catch(() => node)
      const ready = await kubectl('-n', 'keybuzz-n8n', 'get', 'deployment', 'n8n-main', '-o', 'jsonpath={.status.readyReplicas}')
      return now !== node && ready === '1'
    })
    console.log(`  main was away for ${((Date.now() - began) / 1000).toFixed(0)} s; ${lost} of ${asked} webhooks failed meanwhile`)
    assert.ok(lost < asked, 'some webhook was answered')
    await until('webhooks are answered by what is left', 120, async () =>
      (await request(hosts.n8n[0], '/webhook/lab', '-m', '10', '-X', 'POST', '-d', '{}')).status === 200)
  } finally {
    await start(node)
  }
  await until('all nodes are back', 120, async () => (await nodesThatAre('Ready')).length === everyNode.length)
})

test('an apply that is killed in the midst of a rollout is resumed', async () => {
  const settings = await changed('killed', `settings.apps.api.image = 'ghcr.io/keybuzzio/platform-api:1.1.0-lab'`)
  const run = await bastionStart(['./09_k3s_06_deploy_core_apps.mts', '--yes', '--app', 'api', '--settings', settings])
  await until('the rollout has begun', 120, async () =>
    (await kubectl('-n', 'keybuzz-api', 'get', 'deployment', 'api', '-o', 'jsonpath={.spec.template.spec.containers[0].image}')).endsWith('1.1.0-lab'))
  await run.kill('KILL')
  await run.done
  const again = await deploy('--yes', '--app', 'api', '--settings', settings)
  assert.is(again.exitCode, 0, again.text)
  const back = await deploy('--yes', '--app', 'api')
  assert.is(back.exitCode, 0, back.text)
})

test('one tenant reaches its own pods, and neither those of another tenant nor a backend; it cannot take more than its share', async () => {
  const settings = await changed('tenants', `settings.tenants = [{ name: 'red', pods: 3, cpus: 1, memory: 1024, storage: 1 }, { name: 'blue' }]`)
  const run = await deploy('--yes', '--settings', settings)
  assert.is(run.exitCode, 0, run.text)
  const image = await kubectl('-n', 'keybuzz-netcheck', 'get', 'daemonset', 'netcheck', '-o', 'jsonpath={.spec.template.spec.containers[0].image}')
  const pod = (tenant: string, name: string): string => JSON.stringify({
    apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace: `tenant-${tenant}`, labels: { app: name } },
    spec: {
      securityContext: { runAsNonRoot: true, runAsUser: 1000, seccompProfile: { type: 'RuntimeDefault' } },
      containers: [{
        name: 'x', image, command: ['httpd', '-f', '-p', '8080', '-h', '/etc'], resources: { requests: { cpu: '10m', memory: '16Mi' } },
        securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } }
      }]
    }
  })
  const apply = async (manifest: string): Promise<string> =>
    (await bastion(['bash', '-c', '/artifacts/k3s kubectl --kubeconfig /root/.kube/config apply -f - 2>&1 || true'], { input: manifest })).stdout
  try {
    for (const [tenant, name] of [['red', 'one'], ['red', 'two'], ['blue', 'one']] as const) assert.match(await apply(pod(tenant, name)), /created/)
    await kubectl('-n', 'tenant-red', 'wait', '--for=condition=Ready', 'pod', '--all', '--timeout=120s')
    await kubectl('-n', 'tenant-blue', 'wait', '--for=condition=Ready', 'pod', '--all', '--timeout=120s')
    const addressOf = (tenant: string, name: string): Promise<string> => kubectl('-n', `tenant-${tenant}`, 'get', 'pod', name, '-o', 'jsonpath={.status.podIP}')
    const reaches = async (tenant: string, address: string, port: number): Promise<boolean> =>
      kubectl('-n', `tenant-${tenant}`, 'exec', 'one', '--', 'timeout', '5', 'nc', '-w', '3', address, String(port), '-e', 'true').then(() => true, () => false)
    assert.is(await reaches('red', await addressOf('red', 'two'), 8080), true, 'its own pod')
    assert.is(await reaches('red', await addressOf('blue', 'one'), 8080), false, "another tenant's pod")
    assert.is(await reaches('blue', await addressOf('red', 'one'), 8080), false, 'the other way round')
    assert.is(await reaches('red', '10.0.0.10', 5432), false, 'PostgreSQL')
    await apply(pod('red', 'three'))
    assert.match(await apply(pod('red', 'four')), /exceeded quota/)
  } finally {
    await kubectl('delete', 'namespace', 'tenant-red', 'tenant-blue')
  }
  assert.equal(those(await deploy('--yes'), 'failed', 'changed'), [])
})

test('the AI workloads of docs/ai-workloads.md run on the heavy worker alone, and leave room by their priority', async () => {
  const page = await readFile(join(import.meta.dirname, '../../../docs/ai-workloads.md'), 'utf8')
  const image = await kubectl('-n', 'keybuzz-netcheck', 'get', 'daemonset', 'netcheck', '-o', 'jsonpath={.spec.template.spec.containers[0].image}')
  // The lab has neither these images nor such a worker.
  const manifest = /```yaml\n([^]*?)```/.exec(page)![1]!
    .replaceAll(/image: ghcr\.io\/keybuzzio\/embeddings:.*/g, `image: ${image}\n          command: [sleep, '2']`)
    .replaceAll(/image: ghcr\.io\/keybuzzio\/inference:.*/g, `image: ${image}\n          command: [sleep, '3600']`)
    .replaceAll(/cpu: "\d", memory: \dGi/g, 'cpu: 10m, memory: 16Mi')
  const apply = await bastion(['bash', '-c', '/artifacts/k3s kubectl --kubeconfig /root/.kube/config apply -f - 2>&1'], { input: manifest })
  try {
    assert.is(apply.exitCode, 0, apply.stdout)
    await kubectl('-n', 'keybuzz-ai', 'wait', '--for=condition=complete', 'job/embeddings', '--timeout=180s')
    await kubectl('-n', 'keybuzz-ai', 'rollout', 'status', 'deployment/inference', '--timeout=60s')
    const on = await kubectl('-n', 'keybuzz-ai', 'get', 'pods', '-o', 'jsonpath={range .items[*]}{.spec.nodeName}{"\\n"}{end}')
    assert.equal([...new Set(on.split('\n'))], ['k3s-worker-03'])
  } finally {
    await kubectl('delete', 'namespace', 'keybuzz-ai')
  }
})

test.run()
