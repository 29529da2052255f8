// What is wrong between a pod and Vault, and between 08 and Vault: each by its words, while pods that run keep what they have.
import * as assert from 'uvu/assert'
import { bastion, kill, labUp, start, unseal } from '../nodes.mts'
import { givenSecrets } from '../secrets.mts'
import { changed } from '../tests/apps.mts'
import { converge, kubectl, on, script, those, tryKubectl, until } from '../tests/cluster.mts'
import { arrives, forget } from '../tests/monitoring.mts'
import { test } from '../tests/timed.mts'
import { canary, fileOf, makePod, ready, sql, vault } from '../tests/vault.mts'

await labUp()
await converge()

const install = (...flags: string[]) => script('09_k3s_08_install_vault_agent', ...flags)
const logOf = (pod: string): Promise<string> => kubectl('-n', canary, 'logs', pod, '-c', 'vault-agent')
const eventsOf = (pod: string): Promise<string> => kubectl('-n', canary, 'get', 'events', '--field-selector', `involvedObject.name=${pod}`)

await makePod('before')
await ready('before')
const value = await fileOf('before', 'value')

/** What a pod's agent is told wrongly, and what its log says then. Its configuration is the canary's otherwise. */
const faults: { name: string; change: [from: string | RegExp, to: string]; says: RegExp }[] = [
  { name: 'role', change: [/role *= *"vault-canary"/, 'role = "nobody"'], says: /invalid role name|permission denied/ },
  { name: 'path', change: ['keybuzz/data/vault-canary', 'keybuzz/data/api'], says: /permission denied/ },
  { name: 'key', change: ['.Data.data.value', '.Data.data.nothing'], says: /map has no entry for key/ },
  { name: 'template', change: ['{{ with secret', '{{ with sekret'], says: /function "sekret" not defined/ },
  { name: 'path-of-auth', change: ['auth/k3s', 'auth/k4s'], says: /permission denied|no handler for route/ },
  { name: 'address', change: ['https://10.0.0.150:8200', 'https://10.0.0.150:8201'], says: /connection refused|timeout|deadline exceeded/ }
]

test('a pod whose agent is told something wrong waits, and its log and its event say for what', async () => {
  const config = JSON.parse(await kubectl('-n', canary, 'get', 'configmap', 'vault-agent', '-o', 'json')) as { data: Record<string, string> }
  const make = async (name: string, data: Record<string, string>): Promise<void> => {
    const object = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace: canary }, data }
    const { exitCode, stderr } = await tryKubectl(['create', '-f', '-'], { input: JSON.stringify(object) })
    assert.is(exitCode, 0, stderr)
    await makePod(name, { config: name })
  }
  const other = await on('bastion', 'openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout /dev/null -subj /CN=another -days 2 2>/dev/null')
  const wanted = [...faults.map(({ name, says }) => ({ name, says })), { name: 'ca', says: /signed by unknown authority/ }, { name: 'account', says: /permission denied|service account name not authorized/ }]
  try {
    for (const { name, change } of faults) {
      const hcl = config.data['agent.hcl']!.replace(...change)
      assert.is.not(hcl, config.data['agent.hcl'], name)
      await make(name, { ...config.data, 'agent.hcl': hcl })
    }
    await make('ca', { ...config.data, 'ca.crt': other })
    await makePod('account', { account: 'default' })
    for (const { name, says } of wanted) {
      await until(`the log of ${name} says ${says}`, 90, async () => says.test(await logOf(name))).catch(async (error: Error) => {
        throw new Error(`${error.message}\n${await logOf(name)}`)
      })
      await until(`${name} says in an event what it waits for`, 60, async () => (await eventsOf(name)).includes("Vault's agent has not written"))
      assert.is(await kubectl('-n', canary, 'get', 'pod', name, '-o', 'jsonpath={.status.containerStatuses[0].started}'), 'false', name)
    }
  } finally {
    for (const { name } of wanted) await kubectl('-n', canary, 'delete', `pod/${name}`, `configmap/${name}`, '--ignore-not-found', '--wait=false')
  }
})

test("the API has another CA than Vault knows: a new pod waits, 08 says so and mends it, and the pod starts by itself", async () => {
  await vault('write auth/k3s/config kubernetes_host=https://10.0.0.10:6443 kubernetes_ca_cert=@/etc/vault.d/ca.pem disable_local_ca_jwt=true')
  await makePod('waiting')
  await until('the agent is refused', 60, async () => (await logOf('waiting')).includes('permission denied'))
  const plan = await install('--plan')
  assert.match(plan.text, /knows pods by their tokens: different: kubernetes_ca_cert/)
  assert.is(await fileOf('before', 'value'), value)
  const run = await install('--yes')
  assert.is(run.exitCode, 0, run.text)
  assert.equal(those(run, 'changed'), ['cluster: knows pods by their tokens'])
  await ready('waiting')
  await kubectl('-n', canary, 'delete', 'pod', 'waiting', '--wait=false')
})

/** How 08 ends with other settings or another token, and what it says. It must have changed nothing. */
const refused = async (settings: string | undefined, env: Record<string, string>): Promise<string> => {
  const flags = settings === undefined ? [] : ['--settings', settings]
  const { stdout, exitCode } = await bastion(['./09_k3s_08_install_vault_agent.mts', '--yes', ...flags], { env })
  assert.is(exitCode, 1, stdout)
  assert.match(stdout, /\n0 changes, /)
  assert.is(stdout.split('✗').length, 3, 'one line in the plan, and one in the apply')
  return stdout
}

test('a token that has expired, another CA, and a Vault that does not answer: 08 says each, and changes nothing', async () => {
  const expired = (await vault('token create -ttl=1s -field=token')).trim()
  await new Promise((resolve) => setTimeout(resolve, 2000))
  assert.match(await refused(undefined, { VAULT_TOKEN: expired }), /has a token that may do what is needed: the token is not valid, or has expired/)
  await on('bastion', 'openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout /dev/null -subj /CN=another -days 2 -out /root/another.pem 2>/dev/null')
  assert.match(await refused(await changed('another-ca', `settings.backends.vault.ca = '/root/another.pem'`), {}), /its certificate is signed by an unknown authority/)
  assert.match(await refused(await changed('nowhere', 'settings.backends.vault.port = 8299'), {}), /https:\/\/10\.0\.0\.150:8299: no answer within 20 s/)
})

test("a new password of Vault's role in PostgreSQL reaches Vault, though it is still logged in with the old one", async () => {
  const old = givenSecrets['KEYBUZZ_VAULT_POSTGRES_PASSWORD']!
  const change = async (password: string): Promise<void> => {
    await sql(`alter role keybuzz_vault password '${password}'`)
    const { stdout, exitCode } = await bastion(['./09_k3s_08_install_vault_agent.mts', '--yes'], { env: { KEYBUZZ_VAULT_POSTGRES_PASSWORD: password } })
    assert.is(exitCode, 0, stdout)
    await vault('write -force database/reset/postgres')
    assert.match(await vault('read database/creds/vault-canary'), /lease_id/)
  }
  try {
    await change('changed-by-hand-4711')
  } finally {
    await change(old)
  }
})

test('Vault without power is one page, and pods keep their secrets; sealed it is another, and unsealed all is over', async () => {
  await forget()
  const from = Date.now()
  await kill('vault-01')
  try {
    const seconds = await arrives('VaultDown', 'firing', 200, from)
    console.log(`  VaultDown: ${seconds.toFixed(0)} s`)
    assert.ok(seconds < 120, `${seconds} s`)
    assert.is(await fileOf('before', 'value'), value)
    assert.equal(those(await install('--plan'), 'failed'), ['cluster: has a Vault that answers'])
  } finally {
    await start('vault-01')
  }
  const sealed = Date.now()
  try {
    const seconds = await arrives('VaultSealed', 'firing', 200, sealed)
    console.log(`  VaultSealed: ${seconds.toFixed(0)} s`)
    assert.ok(seconds < 120, `${seconds} s`)
    assert.is(await fileOf('before', 'value'), value)
  } finally {
    await unseal()
  }
  await arrives('VaultSealed', 'resolved', 400, sealed)
  await makePod('after')
  await ready('after')
  await kubectl('-n', canary, 'delete', 'pod', 'before', 'after')
})

test.run()
