// What an operator of the applications meets beside the main path: backends that are down, peaks that end, a worker that is
// new, ctrl-C, databases that 06 is to make, prompts, odd settings.
import { stripVTControlCharacters } from 'node:util'
import * as assert from 'uvu/assert'
import type { Pod } from '../../../lib/cluster/pods.mts'
import { bastion, bastionStart, exec, kill, labUp, reset, start } from '../nodes.mts'
import { adminSecrets, givenSecrets } from '../secrets.mts'
import { changed, hosts, request } from '../tests/apps.mts'
import { converge, kubectl, on, script, those, until, type Run } from '../tests/cluster.mts'
import { test } from '../tests/timed.mts'

await labUp()
await converge()

const deploy = (...flags: string[]): Promise<Run> => script('09_k3s_06_deploy_core_apps', ...flags)

const converged = (run: Run): void => {
  assert.is(run.exitCode, 0, run.text)
  assert.equal(those(run, 'changed', 'pending', 'unknown', 'failed'), [], run.text)
}

// The pods of applications that are there to stay.
const pods = async (): Promise<string[]> => {
  const { items } = JSON.parse(await kubectl('get', 'pods', '-A', '-l', 'app', '--field-selector=status.phase=Running', '-o', 'json')) as { items: Pod[] }
  return items.filter(({ metadata }) => metadata.namespace.startsWith('keybuzz-') && metadata.deletionTimestamp === undefined)
    .map(({ metadata: { namespace, name } }) => `${namespace}/${name}`).toSorted()
}

const usesItsBackends = async (): Promise<boolean> => {
  const checks = (['api', 'chatwoot', 'n8n'] as const).map((name) => request(hosts[name][0], '/standin/check'))
  return (await Promise.all(checks)).every(({ status }) => status === 200)
}

for (const [machine, title, port] of [['redis-01', 'Redis', 6379], ['queue-01', 'RabbitMQ', 5672]] as const) {
  test(`${title} down behind HAProxy is one line, and the pods that serve stay`, async () => {
    const before = await pods()
    await kill(machine)
    try {
      await until('HAProxy has seen it', 30, async () =>
        (await exec('bastion', `timeout 2 bash -c 'exec 3<>/dev/tcp/10.0.0.10/${port}; cat <&3'`)).exitCode === 0)
      const run = await deploy('--yes')
      assert.is(run.exitCode, 1, run.text)
      const failed = Object.entries(run.scripts[0]!.hosts).flatMap(([host, outcomes]) =>
        outcomes.filter(({ result }) => result === 'failed').map(({ step, words }) => ({ host, step, words })))
      assert.equal(failed, [{
        host: 'k3s-worker-01', step: 'reaches the backends',
        words: `${title} 10.0.0.10:${port} (from every node): it accepts, and hangs up without a word. Is any server up behind its load balancer (HAProxy), and is this its port?`
      }])
      assert.equal(those(run, 'changed'), [])
      assert.equal(await pods(), before)
    } finally {
      await start(machine)
    }
    await until(`${title} is used again`, 90, usesItsBackends)
  })
}

test('a version whose image does not exist, or that is never ready, is taken back', async () => {
  for (const [tag, words] of [['missing-lab', /ImagePull|ErrImage/], ['broken-lab', /is not ready|not ready|Running|available/]] as const) {
    const settings = await changed(tag, `settings.apps.rollout_timeout = 25; Object.assign(settings.apps.api, { image: 'ghcr.io/keybuzzio/platform-api:${tag}', migrate: [] })`)
    const run = await deploy('--yes', '--app', 'api', '--settings', settings)
    assert.is(run.exitCode, 1, run.text)
    assert.match(run.text, words)
    assert.match(run.text, /Taken back: api runs ghcr\.io\/keybuzzio\/platform-api:1\.0\.0-lab again/)
    assert.is((await request(...hosts.api)).status, 200)
  }
  const again = await deploy('--yes', '--app', 'api')
  assert.is(again.exitCode, 0, again.text)
})

test('the API grows with its load, keeps its pods while a peak may come again, and gives them back one by one', async () => {
  const scaler = async (path: string): Promise<string> => kubectl('-n', 'keybuzz-api', 'get', 'hpa', 'api', '-o', `jsonpath=${path}`)
  const replicas = async (): Promise<number> => Number(await kubectl('-n', 'keybuzz-api', 'get', 'deployment', 'api', '-o', 'jsonpath={.status.readyReplicas}'))
  const before = await replicas()
  // What ran before may have grown it to its maximum, and it stays there for ten minutes.
  await kubectl('-n', 'keybuzz-api', 'patch', 'hpa', 'api', '-p', JSON.stringify({ spec: { maxReplicas: before + 2 } }))
  const load = await bastionStart(['bash', '-c', `trap 'kill $(jobs -p)' TERM
for i in 1 2 3 4; do while :; do curl -s -m 10 -o /dev/null -H 'Host: ${hosts.api[0]}' 'http://10.0.0.5/standin/burn?ms=200'; done & done; wait`])
  try {
    await until('there are more pods', 240, async () => (await replicas()) > before)
  } finally {
    await load.kill('TERM')
    await load.done
  }
  const most = await replicas()
  const able = '{.status.conditions[?(@.type=="AbleToScale")].reason}'
  await until('the peak is over, and its pods stay', 120, async () => (await scaler(able)) === 'ScaleDownStabilized')
  assert.ok((await replicas()) >= most)
  // What was added within the last minute may go at once. And nobody waits for ten minutes here.
  await until('the growth is a minute old', 90, async () => Date.now() - Date.parse(await scaler('{.status.lastScaleTime}')) > 61_000)
  await kubectl('-n', 'keybuzz-api', 'patch', 'hpa', 'api', '-p', JSON.stringify({ spec: { behavior: { scaleDown: { stabilizationWindowSeconds: 0 } } } }))
  await until('one of the pods has gone', 90, async () => (await replicas()) === most - 1)
  const run = await deploy('--yes', '--app', 'api')
  assert.is(run.exitCode, 0, run.text)
  assert.equal(those(run, 'changed'), ['api: has its host, and its number of pods'])
  assert.is(await scaler('{.spec.behavior.scaleDown.stabilizationWindowSeconds}'), '600')
})

test('a worker that leaves and comes back as a new one carries requests at once, and 06 has nothing to change', async () => {
  const [node, address] = ['k3s-worker-05', '10.0.0.114']
  const range = (): Promise<string> => kubectl('get', 'node', node, '-o', 'jsonpath={.spec.podCIDR}')
  const before = await range()
  await kubectl('drain', node, '--ignore-daemonsets', '--delete-emptydir-data', '--timeout=180s')
  await kubectl('delete', 'node', node)
  await reset([node])
  await bastion(['bash', '-c', `grep -v ${node} servers.tsv > ~/fewer.tsv`])
  converged(await deploy('--yes', '--inventory', '/root/fewer.tsv'))

  // 04 brings the images that no registry has.
  for (const name of ['09_k3s_01_prepare', '09_k3s_03_join_workers', '09_k3s_04_bootstrap_addons']) {
    const run = await script(name, '--yes', '--hosts', node)
    assert.is(run.exitCode, 0, run.text)
  }
  converged(await deploy('--yes'))
  const after = await range()
  console.log(`  its pods were in ${before}, and are in ${after} now`)
  const answers = async (host: string, path: string): Promise<boolean> => {
    const { stdout } = await bastion(['curl', '-s', '-m', '10', '-o', '/dev/null', '-w', '%{http_code}', '--haproxy-protocol', '-H', `Host: ${host}`, `http://${address}${path}`])
    return stdout === '200'
  }
  for (const [host, path] of Object.values(hosts)) await until(`${host} answers through the new node's nginx`, 90, () => answers(host, path))
  converged(await deploy('--yes'))
})

test('ctrl-C in the midst of a rollout ends it in order, says what goes on, and the next run completes it', async () => {
  const settings = await changed('interrupted', `settings.apps.api.image = 'ghcr.io/keybuzzio/platform-api:1.1.0-lab'`)
  const run = await bastionStart(['./09_k3s_06_deploy_core_apps.mts', '--yes', '--app', 'api', '--settings', settings])
  await until('the rollout has begun', 120, async () =>
    (await kubectl('-n', 'keybuzz-api', 'get', 'deployment', 'api', '-o', 'jsonpath={.spec.template.spec.containers[0].image}')).endsWith('1.1.0-lab'))
    .finally(() => run.kill('INT'))
  const { exitCode, stderr } = await run.done
  assert.is(exitCode, 130)
  assert.match(stderr, /The cluster goes on replacing the pods of api, .*\n.*rollout status deployment\/api\n.*rollout undo deployment\/api\n.*Interrupted\./s)
  assert.is(await on('k3s-master-01', 'ls -d /run/keybuzz-k3s.lock 2>/dev/null || true'), '')
  const again = await deploy('--yes', '--app', 'api', '--settings', settings)
  assert.is(again.exitCode, 0, again.text)
  assert.match((await request(hosts.api[0], '/standin/who')).body, /1\.1\.0-lab/)
  const back = await deploy('--yes', '--app', 'api')
  assert.is(back.exitCode, 0, back.text)
})

// Makes or removes the API's bucket, as MinIO's admin.
const bucket = async (doing: 'makeBucket' | 'removeBucket'): Promise<void> => {
  const { exitCode, stderr } = await bastion(['node', '--input-type=module', '-e', `
import { Client } from '/opt/keybuzz/node_modules/minio/dist/esm/minio.mjs'
const { KEYBUZZ_MINIO_ADMIN_ACCESS_KEY: accessKey, KEYBUZZ_MINIO_ADMIN_SECRET_KEY: secretKey } = process.env
await new Client({ endPoint: '10.0.0.134', port: 9000, useSSL: false, accessKey, secretKey }).${doing}('keybuzz')
  .catch((error) => { if (error.code !== 'BucketAlreadyOwnedByYou') throw error })`], { env: adminSecrets })
  assert.is(exitCode, 0, stderr)
}

const forgetSecond = async (): Promise<void> => {
  const statements = ['keybuzz_two', 'chatwoot_two'].flatMap((name) => [`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`, `DROP ROLE IF EXISTS ${name}`])
  await on('db-master-01', `su postgres -c "psql -q ${statements.map((one) => `-c '${one}'`).join(' ')}"`)
  await on('queue-01', 'rabbitmqctl delete_vhost two || true')
}

test('databases, roles, extensions, vhost, user and bucket that are missing are made, and the admins are kept nowhere', async () => {
  const second = await changed('second', `settings.backends.create = true
Object.assign(settings.apps.api, { database: 'keybuzz_two', user: 'keybuzz_two', vhost: 'two' })
Object.assign(settings.apps.chatwoot, { database: 'chatwoot_two', user: 'chatwoot_two' })
settings.apps.superset.beat = true`)
  await forgetSecond()
  await bucket('removeBucket')
  try {
    const without = await deploy('--yes', '--settings', second)
    assert.is(without.exitCode, 1, without.text)
    assert.match(without.text, /the password of PostgreSQL's admin .* is not known: set KEYBUZZ_POSTGRES_ADMIN_PASSWORD, or run it at a terminal/)
    assert.equal(those(without, 'changed'), [])

    const { stdout, stderr } = await bastion(['./09_k3s_06_deploy_core_apps.mts', '--json', '--yes', '--settings', second], { env: adminSecrets })
    const made = JSON.parse(stdout) as Run
    assert.is(made.exitCode, 0, stderr)
    assert.match(stderr, /^Chatwoot answers at https:\/\/support\.keybuzz\.io$/m)
    for (const name of ['PostgreSQL', 'RabbitMQ', 'MinIO']) assert.ok(those(made, 'changed').includes(`cluster: ${name} takes the applications`), stderr)
    assert.is(await on('db-master-01', `su postgres -c "psql -Atc \\"select datname || ' ' || pg_get_userbyid(datdba) from pg_database where datname like '%_two' order by 1\\""`),
      'chatwoot_two chatwoot_two\nkeybuzz_two keybuzz_two')
    assert.ok(await usesItsBackends())

    converged(await deploy('--yes', '--settings', second))
    const kept = (await bastion(['bash', '-c', 'find /root /tmp -xdev -type f -not -path "*/cache/*" -print0 | xargs -0 cat'])).stdout
    const { items } = JSON.parse(await kubectl('get', 'secrets', '-A', '-o', 'json')) as { items: { data?: Record<string, string> }[] }
    const inCluster = items.flatMap(({ data = {} }) => Object.values(data)).map((value) => Buffer.from(value, 'base64').toString()).join('\n')
    for (const [name, value] of Object.entries(adminSecrets).filter(([name]) => !name.includes('ERPNEXT')))
      assert.not.ok([kept, inCluster, stdout, stderr].some((text) => text.includes(value)), name)
  } finally {
    await bucket('makeBucket')
  }
})

test('what the settings turn off goes, what they do not enable any more is told and left', async () => {
  const beat = (): Promise<string> => kubectl('-n', 'keybuzz-superset', 'get', 'pods,networkpolicies', '-l', 'app=superset-beat', '-o', 'name')
  assert.match(await beat(), /superset-beat/) // the second settings have it
  const back = await deploy('--yes')
  assert.is(back.exitCode, 0, back.text)
  assert.ok(those(back, 'changed').includes('superset: has nothing that the settings turn off'), back.text)
  assert.is(await beat(), '')

  const before = await pods()
  const run = await deploy('--yes', '--settings', await changed('disabled', 'settings.apps.superset.enabled = false'))
  converged(run)
  assert.is(run.text.match(/keybuzz-superset is not enabled in the settings.*kubectl delete namespace keybuzz-superset/g)?.length, 1, run.text)
  assert.equal(await pods(), before)

  await forgetSecond()
})

// 06 for n8n at a terminal, which `script` is, without the variables; each answer is typed when its question is there.
const atTerminal = async (answers: [question: string, typed: string][]): Promise<{ exitCode: number; screen: string }> => {
  const typing = answers.map((_, index) => `
for try in $(seq 180); do grep -qF "$QUESTION_${index}" /tmp/typescript 2>/dev/null && break; kill -0 $run 2>/dev/null || break; sleep 0.5; done
sleep 1; printf '%s\\r' "$ANSWER_${index}" >&3`).join('\n')
  const env = Object.fromEntries(answers.flatMap(([question, typed], index) => [[`QUESTION_${index}`, question], [`ANSWER_${index}`, typed]]))
  const unset = [...Object.keys(givenSecrets), ...Object.keys(env)].map((name) => `-u ${name}`).join(' ')
  const { exitCode, stdout } = await bastion(['bash', '-c', `rm -f /tmp/keys /tmp/typescript; mkfifo /tmp/keys; exec 3<>/tmp/keys
env ${unset} script -qefc 'stty cols 140 rows 50; ./09_k3s_06_deploy_core_apps.mts --app n8n' /tmp/typescript <&3 > /dev/null & run=$!
${typing}
wait $run; code=$?; cat /tmp/typescript; exit $code`], { env })
  return { exitCode, screen: stdout }
}

test('at a terminal 06 asks for each missing secret, shows none, and keeps those only that are taken', async () => {
  const [password, redis] = [givenSecrets['KEYBUZZ_N8N_POSTGRES_PASSWORD']!, givenSecrets['KEYBUZZ_REDIS_PASSWORD']!]
  const kept = (): Promise<string> => on('bastion', 'cd ~/.keybuzz/secrets; ls | grep -xE "prod-(n8n-postgres|redis)-password" || true')
  await on('bastion', 'cd ~/.keybuzz/secrets; mkdir -p /root/aside; mv prod-n8n-postgres-password prod-redis-password /root/aside')
  try {
    const before = await pods()
    const questions = [['(y/N)', 'y'], ["password of PostgreSQL's role n8n:", password], ['password of Redis:', redis]] as [string, string][]
    const wrong = await atTerminal(questions.map(([question, typed]) => [question, typed === password ? 'mistyped-by-me' : typed]))
    const said = stripVTControlCharacters(wrong.screen)
    assert.is(wrong.exitCode, 1, said)
    assert.match(said, /not kept: n8n: .*role n8n/)
    assert.is(await kept(), '')

    const right = await atTerminal(questions)
    const seen = stripVTControlCharacters(right.screen)
    assert.is(right.exitCode, 0, seen)
    assert.is(await kept(), 'prod-n8n-postgres-password\nprod-redis-password')
    assert.equal(await pods(), before)
    const logs = (await bastion(['bash', '-c', 'cat /root/.keybuzz/logs/*.log'])).stdout
    for (const secret of [password, redis, 'mistyped-by-me'])
      assert.not.ok([wrong.screen, right.screen, said, seen, logs].some((text) => text.includes(secret)), secret.slice(0, 3))
  } finally {
    await on('bastion', 'mv /root/aside/* ~/.keybuzz/secrets; rm -f /tmp/typescript /tmp/keys')
  }
})

// Settings at their ends, each with what the schema takes and nobody writes every day.
const odd: Record<string, string> = {
  least: `for (const app of ['api', 'front']) Object.assign(settings.apps[app], { replicas: { least: 2, most: 2, cpu: 10, memory: 10 }, resources: { cpus: 0.01, memory: 16, most_memory: 16 } })
settings.apps.superset.enabled = false; settings.apps.rollout_timeout = 20
settings.tenants = [{ name: 'a', pods: 1, cpus: 0.1, memory: 64, storage: 0 }]`,
  most: `const host = (name) => name + '.' + 'a'.repeat(63) + '.' + 'b'.repeat(63) + '.keybuzz.io'
for (const app of ['api', 'front', 'chatwoot', 'n8n', 'superset']) settings.apps[app].host = host(app)
for (const app of ['api', 'front']) Object.assign(settings.apps[app], { replicas: { least: 100, most: 500, cpu: 100, memory: 200 }, resources: { cpus: 64, memory: 262144, most_memory: 262144 }, port: 65535, alive: '/a/b_c-d.e~f', ready: '/' })
settings.apps.api.environment = { LOG_LEVEL: 'yes', ODD: "'\\"\\\\ # : {} [] é \\u2028 \\n", EMPTY: '', NUMBER: '0x10' }
settings.apps.superset.beat = true; settings.apps.rollout_timeout = 3600
for (const name of ['web', 'worker']) settings.apps.superset[name].replicas = 100
settings.tenants = [{ name: 'a' + '-b'.repeat(19) + 'c', pods: 10000, cpus: 10000, memory: 10000000, storage: 1000000 }, { name: 'x1' }]`,
  mail: `settings.backends.smtp = { host: 'mail.keybuzz.io', port: 465, user: "odd'user", from: 'no-reply@keybuzz.io' }
settings.apps.superset.beat = true
settings.apps.registry = { server: 'registry.keybuzz.io:5000', user: 'robot+keybuzz@x' }
for (const app of ['api', 'front', 'superset']) settings.apps[app].image = 'registry.keybuzz.io:5000/a/b-c_d:1.0@sha256:' + 'f'.repeat(64)
settings.apps.chatwoot.image = 'registry.keybuzz.io:5000/chatwoot:v4-ce'
settings.apps.api.migrate = ['sh', '-c', 'echo "a: b" # $(HOME) {}']
settings.apps.api.vhost = '/'; settings.apps.api.database = 'null'; settings.apps.n8n.database = 'true'; settings.apps.n8n.user = 'no'; settings.apps.chatwoot.user = 'y'
settings.apps.chatwoot.brand = { name: 'A & B: #1 {x} - é', url: '', terms: 'https://keybuzz.io/?a=1&b=\${HOME}' }
settings.apps.api.bucket = '123'; settings.apps.chatwoot.bucket = '1-2'; settings.backends.minio = { region: '1' }`,
  inside: `settings.backends.smtp = { host: '10.0.0.25', port: 25, user: '', from: '' }
settings.apps.registry = { server: '', user: '' }
settings.apps.front.alive = '/~'
settings.apps.n8n.timezone = 'UTC'; settings.apps.superset.admin = '007'; settings.apps.chatwoot.locale = 'no'`
}

test('what is rendered for odd settings is what the API takes', async () => {
  for (const [name, change] of Object.entries(odd)) {
    const run = await deploy('--plan', '--render', `/root/odd/${name}`, '--settings', await changed(name, change))
    assert.is(run.exitCode, 0, run.text)
    const { stdout, stderr, exitCode } = await bastion(['bash', '-c', `cd /root/odd/${name}; kubectl() { /artifacts/k3s kubectl --kubeconfig /root/.kube/config "$@"; }
code=0
for folder in */; do
  case $folder in tenants/) for file in tenants/*; do
    tenant=tenant-$(basename "$file" .yaml | cut -c3-)
    kubectl create namespace $tenant > /dev/null; kubectl apply --server-side --force-conflicts --dry-run=server -f "$file" || code=1; kubectl delete namespace $tenant --wait=false > /dev/null
  done;;
  *) kubectl apply --server-side --force-conflicts --dry-run=server -f "$folder" || code=1;; esac
done; rm -r /root/odd/${name}; exit $code`])
    assert.is(exitCode, 0, `${name}: ${stderr}`)
    assert.not.match(stderr, /warning/i, name)
    assert.ok(stdout.split('\n').length > 40, stdout)
  }
})

test.run()
