// Secrets from Vault: what a pod gets, what it gets anew, what ends with it, and what is told where Vault does not give it.
import * as assert from 'uvu/assert'
import { bastion, exec, labUp, unseal } from '../nodes.mts'
import { kubectl, script, those, until } from './cluster.mts'
import { test } from './timed.mts'
import { canary as namespace, fileOf as file, makePod as make, ready, sql, vault } from './vault.mts'

await labUp()

const install = (...flags: string[]) => script('09_k3s_08_install_vault_agent', ...flags)
const roles = async (name: string): Promise<string> =>
  sql(`select count(*) from pg_roles where rolname = '${name}'`)

test('a second run changes nothing', async () => {
  const run = await install('--yes')
  assert.is(run.exitCode, 0, run.text)
  assert.equal(those(run, 'changed', 'pending', 'unknown', 'failed'), [])
})

test('a pod has its files; a new value comes by itself, and its user of PostgreSQL goes with it', async () => {
  await vault('kv put -mount=keybuzz vault-canary value=the-first')
  await make('one')
  await ready('one')
  assert.is(await file('one', 'value'), 'the-first')
  const user = await file('one', 'user')
  assert.match(user, /^v-/)
  assert.is(await roles(user), '1')
  await vault('kv put -mount=keybuzz vault-canary value=the-second')
  await until('the file has the new value', 30, async () => (await file('one', 'value')) === 'the-second')
  await kubectl('-n', namespace, 'delete', 'pod', 'one')
  await until('the user is gone', 20, async () => (await roles(user)) === '0')
})

test('while Vault is sealed a pod keeps what it has, a new one waits and says for what, and the script says why', async () => {
  await make('before')
  await ready('before')
  await vault('operator seal')
  try {
    await make('meanwhile')
    await until('the pod says what it waits for', 60, async () =>
      (await kubectl('-n', namespace, 'get', 'events', '--field-selector', 'involvedObject.name=meanwhile')).includes("Vault's agent has not written"))
    assert.is(await file('before', 'value'), 'the-second')
    const run = await install('--yes')
    assert.is(run.exitCode, 1)
    assert.match(run.text, /has a Vault that answers: is sealed: vault operator unseal/)
  } finally {
    await unseal()
  }
  await ready('meanwhile')
  await kubectl('-n', namespace, 'delete', 'pod', 'before', 'meanwhile')
})

test('a token that may do too little is told the lines that its policy lacks, and nothing is changed', async () => {
  const token = (await vault('token create -policy=default -field=token')).trim()
  const { stdout, exitCode } = await bastion(['./09_k3s_08_install_vault_agent.mts', '--yes'], { env: { VAULT_TOKEN: token } })
  assert.is(exitCode, 1)
  assert.match(stdout, /path "sys\/auth\/k3s" \{ capabilities = \["create", "update", "sudo"\] \}/)
  assert.match(stdout, /Nothing may be changed while these fail/)
})

test('what is deleted in Vault and in the cluster is made again', async () => {
  await vault('delete auth/k3s/role/vault-canary')
  await vault('policy delete k3s-vault-canary')
  await vault('write auth/k3s/config kubernetes_host=https://10.0.0.10:6443 kubernetes_ca_cert=@/etc/vault.d/ca.pem disable_local_ca_jwt=true')
  await vault('write database/config/postgres plugin_name=postgresql-database-plugin verify_connection=false allowed_roles=* username=keybuzz_vault password=wrong connection_url="postgresql://{{username}}:{{password}}@10.0.0.10:5432/postgres?sslmode=disable"')
  await kubectl('delete', 'mutatingadmissionpolicybinding', 'vault-agent')
  await kubectl('-n', namespace, 'delete', 'configmap', 'vault-agent')
  const run = await install('--yes')
  assert.is(run.exitCode, 0, run.text)
  const changed = those(run, 'changed')
  for (const fact of ['has the injection', 'has the configuration of its agent', 'says what vault-canary may read', 'knows the pods of vault-canary', 'knows pods by their tokens', 'makes users of PostgreSQL for vault-canary']) {
    assert.ok(changed.includes(`cluster: ${fact}`), `${fact}\n${run.text}`)
  }
})

test('the token of another account opens nothing', async () => {
  const login = async (account: string, where: string): Promise<number> => {
    const jwt = await kubectl('-n', where, 'create', 'token', account, '--audience', 'vault')
    const data = JSON.stringify({ role: 'vault-canary', jwt })
    return (await exec('vault-01', `curl -sS -o /dev/null -w '%{http_code}' --cacert /etc/vault.d/ca.pem -d @- https://127.0.0.1:8200/v1/auth/k3s/login | grep -qx 200`, { input: data })).exitCode
  }
  assert.is(await login('vault-canary', namespace), 0)
  assert.is(await login('default', namespace), 1)
  assert.is(await login('default', 'default'), 1)
})

test('no secret is in a log, a ConfigMap, an event or the environment of a pod', async () => {
  const { stdout } = await bastion(['bash', '-c', 'cat /root/.keybuzz/secrets/*vault*; printenv VAULT_TOKEN'])
  const secrets = [...stdout.split('\n').filter(Boolean), 'the-second']
  assert.is(secrets.length, 3)
  const seen = (await bastion(['bash', '-c', 'cat /root/.keybuzz/logs/*.log'])).stdout
    + await kubectl('-n', namespace, 'get', 'configmaps,events,pods', '-o', 'yaml')
    + await kubectl('get', 'mutatingadmissionpolicies', '-o', 'yaml')
  assert.equal(secrets.filter((secret) => seen.includes(secret)), [])
})

test.run()
