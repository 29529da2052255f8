// An application that gets its secrets from Vault: it moves there, its pods get new users of PostgreSQL, and it moves back, all
// under fifty requests a second. Only api here; the others are in test/lab/long.
import * as assert from 'uvu/assert'
import { adminSecrets } from '../secrets.mts'
import { labUp } from '../nodes.mts'
import { changed, hosts, request } from './apps.mts'
import { kubectl, on, script, those, until } from './cluster.mts'
import { test } from './timed.mts'
import { underTraffic } from './traffic.mts'
import { users } from './vault.mts'

await labUp()

const deploy = (...flags: string[]) => script('09_k3s_06_deploy_core_apps', '--app', 'api', ...flags)
const moved = await changed('api-from-vault', `settings.vault.apps = ['api']`)
const app = { host: hosts.api[0], path: hosts.api[1] }
const secrets = () => kubectl('-n', 'keybuzz-api', 'get', 'secret', 'api', '--ignore-not-found', '-o', 'jsonpath={.data}')
const before = await secrets()

const usesItsBackends = async (): Promise<void> => {
  const { status, body } = await request(hosts.api[0], '/standin/check')
  assert.is(status, 200, body)
}

test('it moves to Vault without a failed request; then its Secret is gone, and each pod has a user of its own', async () => {
  const { http } = await underTraffic(40, async () => {
    const run = await deploy('--yes', '--settings', moved)
    assert.is(run.exitCode, 0, run.text)
  }, { app })
  assert.is(http.failed, 0, JSON.stringify(http))
  await usesItsBackends()
  assert.is(await secrets(), '')
  await until('every pod is logged in as a user of its own', 60, async () => {
    const logged = await users('keybuzz')
    return logged.length > 0 && logged.every((name) => name.startsWith('v-'))
  })
  const again = await deploy('--yes', '--settings', moved)
  assert.is(again.exitCode, 0, again.text)
  assert.equal(those(again, 'changed', 'pending', 'unknown', 'failed'), [])
})

test('no secret is in what the cluster keeps of it, nor in the list of processes', async () => {
  const values = Object.values(JSON.parse(before) as Record<string, string>).map((value) => Buffer.from(value, 'base64').toString()).filter((value) => value.length > 15)
  const kept = await kubectl('-n', 'keybuzz-api', 'get', 'configmaps,pods,deployments,jobs,cronjobs,events', '-o', 'json')
  const nodes = (await kubectl('-n', 'keybuzz-api', 'get', 'pods', '-o', 'jsonpath={.items[*].spec.nodeName}')).split(' ')
  const processes = (await Promise.all([...new Set(nodes)].map((node) => on(node, 'ps -eo args')))).join('\n')
  for (const value of values) assert.not((kept + processes).includes(value))
})

test('its pods are replaced, with new users, without a failed request; the old users are gone', async () => {
  const old = await users('keybuzz')
  const { http } = await underTraffic(40, async () => {
    await kubectl('-n', 'keybuzz-api', 'create', 'job', '--from=cronjob/rotation', 'now')
    await kubectl('-n', 'keybuzz-api', 'wait', '--for=condition=complete', 'job/now', '--timeout=60s')
    await kubectl('-n', 'keybuzz-api', 'rollout', 'status', 'deployment/api', '--timeout=120s')
    await until('the old pods and their users are gone', 90, async () => (await users('keybuzz')).every((name) => !old.includes(name)))
  }, { app })
  assert.is(http.failed, 0, JSON.stringify(http))
  await kubectl('-n', 'keybuzz-api', 'delete', 'job', 'now')
  await usesItsBackends()
})

test('it moves back without a failed request: the same Secret, and nothing of Vault; then Vault forgets it', async () => {
  const { http } = await underTraffic(40, async () => {
    const run = await deploy('--yes')
    assert.is(run.exitCode, 0, run.text)
  }, { app })
  assert.is(http.failed, 0, JSON.stringify(http))
  await usesItsBackends()
  assert.is(await secrets(), before)
  assert.is(await kubectl('-n', 'keybuzz-api', 'get', 'cronjob/rotation', 'role/rotation', 'configmap/vault-agent', '--ignore-not-found', '-o', 'name'), '')
  const remove = (...flags: string[]) => script('09_k3s_08_install_vault_agent', '--remove', 'api', ...flags)
  const refused = await remove('--plan')
  assert.match(refused.text, /Add to its policy[^]*path "auth\/k3s\/role\/api" \{ capabilities = \["delete"\] \}/)
  await on('bastion', `install -m 600 /dev/null /root/admin-token; echo ${adminSecrets['KEYBUZZ_VAULT_ADMIN_TOKEN']} > /root/admin-token`)
  await until('the old pods have ended', 120, async () => !(await kubectl('-n', 'keybuzz-api', 'get', 'pods', '--field-selector', 'status.phase!=Succeeded,status.phase!=Failed', '-o', 'yaml')).includes('keybuzz.io/vault-agent'))
  const removed = await remove('--yes', '--vault-token-file', '/root/admin-token')
  await on('bastion', 'rm /root/admin-token')
  assert.is(removed.exitCode, 0, removed.text)
  assert.ok(those(removed, 'changed').includes('cluster: makes no user of PostgreSQL for api'))
})

test.run()
