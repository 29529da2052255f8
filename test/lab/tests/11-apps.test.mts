// The applications: they answer, a second run changes nothing, what does not work is told and taken back, and nobody notices.
import * as assert from 'uvu/assert'
import type { Pod } from '../../../lib/cluster/pods.mts'
import { bastion, kill, labUp, start } from '../nodes.mts'
import { changed, hosts, request } from './apps.mts'
import { converge, kubectl, on, script, those, tryKubectl, until, type Run } from './cluster.mts'
import { test } from './timed.mts'
import { underTraffic } from './traffic.mts'

await labUp()
// The rest belongs to the files that come next.
await converge('--to', '06')

const deploy = (...flags: string[]): Promise<Run> => script('09_k3s_06_deploy_core_apps', ...flags)

// Those of applications that are there to stay.
const pods = async (): Promise<string[]> => {
  const { items } = JSON.parse(await kubectl('get', 'pods', '-A', '-l', 'app', '--field-selector=status.phase=Running', '-o', 'json')) as { items: Pod[] }
  return items.filter(({ metadata }) => metadata.namespace.startsWith('keybuzz-') && metadata.deletionTimestamp === undefined)
    .map(({ metadata: { namespace, name } }) => `${namespace}/${name}`).toSorted()
}

test('every application answers at its host through both load balancers', async () => {
  for (const [host, path] of Object.values(hosts)) {
    for (const balancer of ['10.0.0.5', '10.0.0.6']) {
      const { stdout } = await bastion(['curl', '-sS', '-m', '10', '-o', '/dev/null', '-w', '%{http_code}', '-H', `Host: ${host}`, `http://${balancer}${path}`])
      assert.is(stdout, '200', `${host}${path} through ${balancer}`)
    }
  }
})

test('each application really uses its backends: a row, a key, a message, an object', async () => {
  for (const name of ['api', 'chatwoot', 'n8n'] as const) {
    const { status, body } = await request(hosts[name][0], '/standin/check')
    assert.is(status, 200, `${name}: ${body}`)
  }
})

test('a webhook goes to the webhook processes and is run by a worker, the editor to main; metrics are not public', async () => {
  const run = await request('n8n.keybuzz.io', '/webhook/lab', '-X', 'POST', '-d', '{"ticket": 7}')
  assert.is(run.status, 200, run.body)
  assert.match(run.body, /worker/)
  assert.match((await request('n8n.keybuzz.io', '/standin/who')).body, /main/)
  assert.ok((await request('n8n.keybuzz.io', '/metrics')).status >= 500)
})

test('a second run changes nothing: neither secrets nor pods', async () => {
  const before = await pods()
  const run = await deploy('--yes')
  assert.is(run.exitCode, 0, run.text)
  assert.equal(those(run, 'changed', 'pending', 'unknown', 'failed'), [])
  assert.equal(await pods(), before)
})

test('no secret is in a ConfigMap, in the log, or in what is rendered', async () => {
  const { stdout } = await bastion(['bash', '-c', 'cat /root/.keybuzz/secrets/*-password /root/.keybuzz/secrets/*-key | sort -u'])
  const secrets = stdout.split('\n').filter(Boolean)
  assert.ok(secrets.length > 8)
  const run = await deploy('--render', '/root/rendered', '--plan')
  assert.is(run.exitCode, 0, run.text)
  const seen = (await bastion(['bash', '-c', 'cat /root/rendered/*/*.yaml /root/.keybuzz/logs/*.log'])).stdout
    + await kubectl('get', 'configmaps,deployments,jobs', '-A', '-o', 'yaml')
  assert.equal(secrets.filter((secret) => seen.includes(secret)), [])
})

const refused = async (settings: string, expected: RegExp, environment: Record<string, string> = {}): Promise<void> => {
  const before = await pods()
  const { stdout, stderr } = await bastion(['./09_k3s_06_deploy_core_apps.mts', '--json', '--yes', '--settings', settings], { env: environment })
  const run = JSON.parse(stdout) as Run
  assert.is(run.exitCode, 1, stderr)
  assert.match(stderr, expected)
  assert.equal(await pods(), before, 'the pods are as before')
}

test('a wrong password, a database that is missing and an extension that is missing are each told, and nothing is changed', async () => {
  await refused(await changed('wrong', ''), /n8n: .*role n8n/, { KEYBUZZ_N8N_POSTGRES_PASSWORD: 'wrong' })
  await refused(await changed('database', "settings.apps.n8n.database = 'n8n_gone'"), /n8n: database n8n_gone is missing/)
  await on('db-master-01', `su postgres -c "psql -d chatwoot -c 'DROP EXTENSION vector'"`)
  try {
    await refused(await changed('extension', ''), /chatwoot: database chatwoot lacks extension vector/)
  } finally {
    await on('db-master-01', `su postgres -c "psql -d chatwoot -c 'CREATE EXTENSION vector'"`)
  }
})

test('a version that crashes is taken back under traffic', async () => {
  const settings = await changed('crash-lab', `settings.apps.rollout_timeout = 25; Object.assign(settings.apps.api, { image: 'ghcr.io/keybuzzio/platform-api:crash-lab', migrate: [] })`)
  const run = await deploy('--yes', '--app', 'api', '--settings', settings)
  assert.is(run.exitCode, 1, run.text)
  assert.match(run.text, /exit code|CrashLoopBackOff/)
  assert.match(run.text, /Taken back: api runs ghcr\.io\/keybuzzio\/platform-api:1\.0\.0-lab again/)
  assert.is((await request(...hosts.api)).status, 200)
  const again = await deploy('--yes', '--app', 'api')
  assert.is(again.exitCode, 0, again.text)
})

test('a migration that fails shows its last line, and the version that serves is left', async () => {
  const before = await pods()
  const settings = await changed('migration', `settings.apps.api.image = 'ghcr.io/keybuzzio/platform-api:badmigration-lab'`)
  const run = await deploy('--yes', '--app', 'api', '--settings', settings)
  assert.is(run.exitCode, 1, run.text)
  assert.match(run.text, /api-migrate-[0-9a-f]+|has failed/)
  assert.equal(await pods(), before)
})

test('a new version is rolled out under fifty requests a second without a failed one', async () => {
  const settings = await changed('next', `settings.apps.api.image = 'ghcr.io/keybuzzio/platform-api:1.1.0-lab'`)
  const { http } = await underTraffic(40, async () => {
    const run = await deploy('--yes', '--app', 'api', '--settings', settings)
    assert.is(run.exitCode, 0, run.text)
  }, { app: { host: hosts.api[0], path: hosts.api[1] } })
  assert.match((await request(hosts.api[0], '/standin/who')).body, /1\.1\.0-lab/)
  assert.ok(http.requests > 500)
  assert.is(http.failed, 0, JSON.stringify(http))
})

test('a backend that is down is told once, with its address, and the pods that serve stay', async () => {
  await kill('db-master-01')
  try {
    await refused(await changed('down', ''), /10\.0\.0\.10:5432/)
  } finally {
    await start('db-master-01')
  }
  await until('PostgreSQL is back', 60, async () => (await request(hosts.api[0], '/standin/check')).status === 200)
})

test("an application's pods reach neither another one's nor a backend that is not theirs", async () => {
  const address = await kubectl('-n', 'keybuzz-n8n', 'get', 'pods', '-l', 'app=n8n-main', '-o', 'jsonpath={.items[0].status.podIP}')
  const from = async (namespace: string, deployment: string, host: string, port: number): Promise<boolean> => {
    const { exitCode } = await tryKubectl(['-n', namespace, 'exec', `deploy/${deployment}`, '--',
      'busybox', 'nc', '-w', '3', host, String(port), '-e', 'busybox', 'true'])
    return exitCode === 0
  }
  assert.is(await from('keybuzz-n8n', 'n8n-worker', '10.0.0.10', 5432), true, 'its own backend')
  assert.is(await from('keybuzz-front', 'front', address, 5678), false, "another application's pod")
  assert.is(await from('keybuzz-front', 'front', '10.0.0.10', 5432), false, 'a backend that is not its own')
})

test.run()
