// All applications get their secrets from Vault: the way there, cut by kill -9; users of PostgreSQL that are renewed and replaced;
// Vault sealed, its tokens gone, its packets dropped; and the way back.
import * as assert from 'uvu/assert'
import { isReady, type Pod } from '../../../lib/cluster/pods.mts'
import { bastionStart, labUp, restart, unseal } from '../nodes.mts'
import { changed, hosts, request } from '../tests/apps.mts'
import { converge, kubectl, script, those, until, type Run } from '../tests/cluster.mts'
import { arrives, forget } from '../tests/monitoring.mts'
import { test } from '../tests/timed.mts'
import { underTraffic } from '../tests/traffic.mts'
import { sql, users, vault } from '../tests/vault.mts'

await labUp()
await converge()

const names = ['api', 'chatwoot', 'n8n', 'superset'] as const
const databases = { api: 'keybuzz', chatwoot: 'chatwoot', n8n: 'n8n', superset: 'superset' }
const moved = await changed('all-from-vault', `settings.vault.apps = ['api', 'chatwoot', 'n8n', 'superset']`)
const deploy = (...flags: string[]): Promise<Run> => script('09_k3s_06_deploy_core_apps', ...flags)

const secretOf = (name: string): Promise<string> => kubectl('-n', `keybuzz-${name}`, 'get', 'secret', name, '--ignore-not-found', '-o', 'jsonpath={.data}')
const usesItsBackends = async (): Promise<boolean> =>
  (await Promise.all(names.map((name) => request(hosts[name][0], '/standin/check')))).every(({ status }) => status === 200)
const rotate = async (job: string): Promise<void> => {
  await kubectl('-n', 'keybuzz-api', 'create', 'job', '--from=cronjob/rotation', job)
  await kubectl('-n', 'keybuzz-api', 'wait', '--for=condition=complete', `job/${job}`, '--timeout=60s')
}
const rolledOut = (): Promise<string> => kubectl('-n', 'keybuzz-api', 'rollout', 'status', 'deployment/api', '--timeout=180s')
const check = { host: hosts.api[0], path: '/standin/check' }

const before = await Promise.all(names.map(secretOf))

test('a move that is killed when the first has moved is resumed; then no application has a Secret', async () => {
  const run = await bastionStart(['./09_k3s_06_deploy_core_apps.mts', '--yes', '--settings', moved])
  await until('api has moved', 300, async () => (await secretOf('api')) === '')
  await run.kill('KILL')
  await run.done
  const resumed = await deploy('--yes', '--settings', moved)
  assert.is(resumed.exitCode, 0, resumed.text)
  assert.equal(await Promise.all(names.map(secretOf)), names.map(() => ''))
  await until('all use their backends', 60, usesItsBackends)
  await until('every pod is logged in as a user of its own', 90, async () => {
    const logged = await Promise.all(names.map((name) => users(databases[name])))
    return logged.every((all) => all.length > 0 && all.every((one) => one.startsWith('v-')))
  })
  const again = await deploy('--yes', '--settings', moved)
  assert.is(again.exitCode, 0, again.text)
  assert.equal(those(again, 'changed', 'pending', 'unknown', 'failed'), [])
})

test('09 names the source of the secrets, how long users are valid, and the next rotation; also without a token of Vault', async () => {
  const run = await script('09_k3s_09_final_validation', '--settings', moved)
  const { hosts: asked } = run.scripts.find(({ id }) => id === '09_k3s_06')!
  const words = (name: string, step: string): string => {
    const { result, evidence = '', words: fault = '' } = asked[name]?.find((outcome) => outcome.step === step) ?? { result: 'not asked' }
    return `${result}: ${evidence}${fault}`
  }
  for (const name of names) {
    assert.match(words(name, 'has users of PostgreSQL that are valid'), /^ok: (\d+, and the first of them ends in \d+ h|none is logged in)/)
    assert.match(words(name, 'replaces its pods in time'), /^ok: the next time in [01]\.\d days, at 03:30 UTC, the oldest pod is \d+ h old of 72 h at most/)
  }
})

test('users that may live for three minutes are renewed, and replaced with their pods before their end, without a failed request', async () => {
  await vault(`write database/roles/api db_name=postgres default_ttl=60s max_ttl=180s ${await creation()}`)
  try {
    const { http } = await underTraffic(200, async () => {
      await rotate('first')
      await rolledOut()
      const first = await users('keybuzz')
      await new Promise((resolve) => setTimeout(resolve, 80_000))
      // Each was valid for a minute, and its pods still live: all were renewed.
      assert.is(await sql(`select count(*) from pg_roles where rolname in (${(await users('keybuzz')).map((one) => `'${one}'`).join(', ')}) and rolvaliduntil < now()`), '0')
      await rotate('second')
      await rolledOut()
      await until('the first users are gone', 180, async () => (await users('keybuzz')).every((one) => !first.includes(one)))
    }, { app: check })
    assert.ok(http.requests > 500)
    assert.is(http.failed, 0, JSON.stringify(http))
    // What the pods have now lets them in: every connection is cut, and made anew.
    await sql("select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = 'keybuzz' and usename like 'v-%'")
    await until('they are logged in again', 60, usesItsBackends)
  } finally {
    const run = await deploy('--yes', '--app', 'api', '--settings', moved)
    assert.is(run.exitCode, 0, run.text)
  }
})

test('sealed: what runs serves, new pods wait, and nothing fails; unsealed, the rollout goes on by itself', async () => {
  // n8n's main ends before its successor starts: it is left alone until others get their secrets.
  const main = async (): Promise<string | undefined> => {
    const { items } = JSON.parse(await kubectl('-n', 'keybuzz-n8n', 'get', 'pods', '-l', 'app=n8n-main', '-o', 'json')) as { items: Pod[] }
    return items.find(isReady)?.metadata.name
  }
  const former = await main()
  assert.ok(former)
  await rotate('third')
  await rolledOut()
  const { http } = await underTraffic(100, async () => {
    await restart('vault-01')
    try {
      await rotate('sealed')
      await until('a new pod waits', 60, async () => (await kubectl('-n', 'keybuzz-api', 'get', 'events', '-o', 'yaml')).includes("Vault's agent has not written"))
      const run = await deploy('--plan', '--app', 'api', '--settings', moved)
      assert.match(run.text, /has a Vault that answers: is sealed/)
      await kubectl('-n', 'keybuzz-n8n', 'create', 'job', '--from=cronjob/rotation', 'sealed')
      await until('the rotation of n8n waits for its first pods', 60, async () => (await kubectl(
        '-n', 'keybuzz-n8n', 'get', 'pods', '-l', 'job-name=sealed', '-o', 'jsonpath={.items[*].status.initContainerStatuses[1].state.running.startedAt}'
      )) !== '')
      assert.is(await main(), former)
    } finally {
      await unseal()
    }
    await rolledOut()
    await kubectl('-n', 'keybuzz-n8n', 'wait', '--for=condition=complete', 'job/sealed', '--timeout=180s')
    await until("n8n's main is another pod", 180, async () => ![former, undefined].includes(await main()))
  }, { app: check })
  assert.is(http.failed, 0, JSON.stringify(http))
})

test('an agent whose token is gone logs in again by itself, and its pod goes on', async () => {
  // The old ones of the rollout before may still be about to end.
  const { items } = JSON.parse(await kubectl('-n', 'keybuzz-api', 'get', 'pods', '-l', 'app=api', '-o', 'json')) as { items: Pod[] }
  const pods = items.filter(({ metadata }) => metadata.deletionTimestamp === undefined).map(({ metadata }) => metadata.name)
  const loginsOf = async (pod: string): Promise<number> => (await kubectl('-n', 'keybuzz-api', 'logs', pod, '-c', 'vault-agent')).split('authentication successful').length
  const before = await Promise.all(pods.map(loginsOf))
  const accessors = JSON.parse(await vault('list -format=json auth/token/accessors')) as string[]
  let revoked = 0
  for (const accessor of accessors) {
    const found = await vault(`token lookup -format=json -accessor ${accessor}`).catch(() => '')
    if (!found.includes('"path": "auth/k3s/login"') || !found.includes('"service_account_namespace": "keybuzz-api"')) continue
    await vault(`token revoke -accessor ${accessor}`)
    revoked++
  }
  assert.ok(revoked > 0)
  // Its users of PostgreSQL went with the token: the agent gets others, and the pods use them from the next rotation on.
  await until('all agents have logged in again', 180, async () =>
    (await Promise.all(pods.map(loginsOf))).every((count, index) => count > before[index]!))
  await rotate('fourth')
  await rolledOut()
  assert.ok(await usesItsBackends())
})

test('a rotation that fails is a ticket, and 06 mends it', async () => {
  await forget()
  const from = Date.now()
  await kubectl('-n', 'keybuzz-api', 'delete', 'rolebinding', 'rotation')
  try {
    await kubectl('-n', 'keybuzz-api', 'create', 'job', '--from=cronjob/rotation', 'fails')
    await arrives('JobFailed', 'firing', 400, from)
  } finally {
    await kubectl('-n', 'keybuzz-api', 'delete', 'job', 'fails')
  }
  const run = await deploy('--yes', '--app', 'api', '--settings', moved)
  assert.is(run.exitCode, 0, run.text)
  await rotate('mended')
  await rolledOut()
})

test('they move back: the same Secrets, and nothing of Vault', async () => {
  const run = await deploy('--yes')
  assert.is(run.exitCode, 0, run.text)
  assert.equal(await Promise.all(names.map(secretOf)), before)
  await until('all use their backends', 60, usesItsBackends)
  for (const name of names) {
    assert.equal(await users(databases[name]).then((all) => all.filter((one) => one.startsWith('v-'))), [])
    assert.is(await kubectl('-n', `keybuzz-${name}`, 'get', 'cronjob/rotation', 'configmap/vault-agent', '--ignore-not-found', '-o', 'name'), '')
  }
})

/** The statements that make a user of api, as Vault has them now, as an argument of `vault write`. */
async function creation(): Promise<string> {
  const { data } = JSON.parse(await vault('read -format=json database/roles/api')) as { data: { creation_statements: string[] } }
  return data.creation_statements.map((one) => `creation_statements="${one.replaceAll('"', '\\"')}"`).join(' ')
}

test.run()
