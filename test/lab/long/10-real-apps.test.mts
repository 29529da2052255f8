// The real n8n and the real Superset in the place of their stand-ins: do our manifests run them, and do they do their work?
import * as assert from 'uvu/assert'
import { bastion, exec, labUp } from '../nodes.mts'
import { givenSecrets } from '../secrets.mts'
import { hosts } from '../tests/apps.mts'
import { converge, kubectl, on, script, those, until, workers } from '../tests/cluster.mts'
import { test } from '../tests/timed.mts'

// What the one has left in its queue is nothing that the other can read.
const emptyQueues = (): Promise<string[]> => Promise.all([2, 3].map((database) =>
  on('redis-01', `REDISCLI_AUTH=$(sed -n 's/^KEYBUZZ_REDIS_PASSWORD=//p' /etc/lab/secrets) redis-cli -n ${database} flushdb`)))

const minutesOf = async (work: () => Promise<unknown>): Promise<string> => {
  const began = Date.now()
  await work()
  return ((Date.now() - began) / 60_000).toFixed(1)
}

const built = await minutesOf(() => labUp({ realApps: true }))
await emptyQueues()
const applied = await minutesOf(converge)
console.log(`  images made in ${built} minutes, brought to the nodes and rolled out in ${applied}`)

type Asked = { method?: string; headers?: Record<string, string>; json?: unknown; through?: string }
type Answer = { status: number; cookies: string; body: string }

const ask = async (host: string, path: string, { method = 'GET', headers = {}, json, through = '10.0.0.5' }: Asked = {}): Promise<Answer> => {
  const all = { Host: host, Expect: '', ...(json === undefined ? {} : { 'Content-Type': 'application/json' }), ...headers }
  const { stdout, stderr } = await bastion(
    ['curl', '-sS', '-i', '-m', '60', '-X', method, ...Object.entries(all).flatMap(([name, value]) => ['-H', `${name}: ${value}`]),
      ...(json === undefined ? [] : ['--data-binary', '@-']), `http://${through}${path}`],
    json === undefined ? {} : { input: JSON.stringify(json) }
  )
  const [head = '', ...rest] = stdout.split('\r\n\r\n')
  return {
    status: Number(/^HTTP\/\S+ (\d+)/.exec(head)?.[1] ?? 0),
    cookies: [...head.matchAll(/^set-cookie: ([^;]+)/gim)].map(([, cookie]) => cookie).join('; '),
    body: rest.join('\r\n\r\n') || stderr
  }
}

/** What the answer says, which must be a success. */
const said = async <T,>(host: string, path: string, asked?: Asked): Promise<T> => {
  const { status, body } = await ask(host, path, asked)
  assert.ok(status >= 200 && status < 300, `${asked?.method ?? 'GET'} ${path}: ${status} ${body.slice(0, 500)}`)
  return JSON.parse(body) as T
}

const [n8nHost] = hosts.n8n
const owner = { email: 'lab@keybuzz.io', password: 'Lab-Passw0rd', firstName: 'Lab', lastName: 'Owner' }

// Who comes first owns n8n. Its cookie is for https, which ends at the load balancers of the field: curl would not keep it.
const signIn = async (): Promise<string> => {
  await ask(n8nHost, '/rest/owner/setup', { method: 'POST', json: owner })
  const { status, cookies, body } = await ask(n8nHost, '/rest/login', {
    method: 'POST', json: { emailOrLdapLoginId: owner.email, password: owner.password }
  })
  assert.is(status, 200, body)
  return cookies
}

const cookies = await signIn()
const n8n = <T,>(path: string, asked: Asked = {}): Promise<T> =>
  said<{ data: T }>(n8nHost, `/rest${path}`, { ...asked, headers: { Cookie: cookies } }).then(({ data }) => data)

type Node = { name: string; type: string; typeVersion: number; parameters: object; webhookId?: string }

/** Makes a workflow of nodes in a row, and activates it. Returns its id. */
const workflow = async (name: string, nodes: Node[]): Promise<string> => {
  const { id, versionId } = await n8n<{ id: string; versionId: string }>('/workflows', {
    method: 'POST',
    json: {
      name,
      nodes: nodes.map((node, index) => ({ ...node, id: node.name, position: [200 * index, 0] })),
      connections: Object.fromEntries(nodes.slice(1).map((next, index) =>
        [nodes[index]!.name, { main: [[{ node: next.name, type: 'main', index: 0 }]] }])),
      settings: {}
    }
  })
  await n8n(`/workflows/${id}/activate`, { method: 'POST', json: { versionId } })
  return id
}

const archive = async (id: string): Promise<void> => {
  await n8n(`/workflows/${id}/archive`, { method: 'POST', json: {} })
  // Until every process has let go of it n8n answers 409.
  await until('the workflow is deleted', 60, async () => n8n(`/workflows/${id}`, { method: 'DELETE' }).then(() => true, () => false))
}

const executionsOf = async (id: string): Promise<{ id: string; status: string; startedAt: string }[]> => {
  const filter = encodeURIComponent(JSON.stringify({ workflowId: id }))
  return (await n8n<{ results: { id: string; status: string; startedAt: string }[] }>(`/executions?limit=100&filter=${filter}`)).results
}

const logsOf = (app: string, container: string): Promise<string> =>
  kubectl('-n', 'keybuzz-n8n', 'logs', '-l', `app=${app}`, '-c', container, '--tail=-1', '--prefix')

test('the pods run the real ones, as user 1000 and with a read-only root', async () => {
  const images = await kubectl('get', 'pods', '-A', '-l', 'app', '-o',
    'jsonpath={range .items[*]}{.metadata.namespace} {.spec.containers[0].image} {.status.containerStatuses[0].restartCount}{"\\n"}{end}')
  const real = images.split('\n').filter((line) => /^keybuzz-(n8n|superset) /.test(line) && !line.includes('superset-migrate'))
  assert.ok(real.length >= 9, images)
  assert.ok(real.every((line) => /(n8n:2\.41\.1|superset:6\.1\.0-1) 0$/.test(line)), real.join('\n'))
  assert.is(await kubectl('-n', 'keybuzz-n8n', 'exec', 'deploy/n8n-main', '--', 'n8n', '--version'), '2.41.1')
  assert.match(await kubectl('-n', 'keybuzz-superset', 'exec', 'deploy/superset-web', '--', 'superset', 'version'), /6\.1\.0/)
  const written = await bastion(['bash', '-c', '/artifacts/k3s kubectl --kubeconfig /root/.kube/config -n keybuzz-n8n exec deploy/n8n-main -- touch /x 2>&1; true'])
  assert.match(written.stdout, /Read-only file system/)
})

test('a webhook goes through both load balancers to a worker, whose runner does the Code node', async () => {
  const id = await workflow('webhook', [
    { name: 'Webhook', type: 'n8n-nodes-base.webhook', typeVersion: 2, webhookId: 'lab', parameters: { httpMethod: 'POST', path: 'lab', responseMode: 'lastNode' } },
    {
      name: 'Code', type: 'n8n-nodes-base.code', typeVersion: 2,
      parameters: { jsCode: `const sum = require('crypto').createHash('sha256').update('keybuzz').digest('hex')
return [{ json: { answer: $input.first().json.body.ticket * 6, sum } }]` }
    }
  ])
  try {
    await until('the webhook is known', 60, async () => (await ask(n8nHost, '/webhook/lab', { method: 'POST', json: { ticket: 7 } })).status === 200)
    for (const through of ['10.0.0.5', '10.0.0.6']) {
      const { answer, sum } = await said<{ answer: number; sum: string }>(n8nHost, '/webhook/lab', { method: 'POST', json: { ticket: 7 }, through })
      assert.is(answer, 42)
      assert.is(sum.slice(0, 8), 'f0f5dfa9')
    }
    const executions = await executionsOf(id)
    assert.ok(executions.length >= 3 && executions.every(({ status }) => status === 'success'), JSON.stringify(executions))
    const ran = await logsOf('n8n-worker', 'n8n')
    for (const execution of executions) assert.match(ran, new RegExp(`finished execution ${execution.id}\\b`))
    assert.match(await logsOf('n8n-worker', 'runner'), /there is a task/)
  } finally {
    await archive(id)
  }
})

test('what was due while main was away is run when it is back', async () => {
  const id = await workflow('schedule', [
    { name: 'Schedule', type: 'n8n-nodes-base.scheduleTrigger', typeVersion: 1.2, parameters: { rule: { interval: [{ field: 'cronExpression', expression: '*/10 * * * * *' }] } } },
    { name: 'Nothing', type: 'n8n-nodes-base.noOp', typeVersion: 1, parameters: {} }
  ])
  try {
    await until('it has begun', 120, async () => (await executionsOf(id)).length >= 2)
    const pod = await kubectl('-n', 'keybuzz-n8n', 'get', 'pods', '-l', 'app=n8n-main', '-o', 'jsonpath={.items[0].metadata.name}')
    const began = Date.now()
    await kubectl('-n', 'keybuzz-n8n', 'delete', 'pod', pod, '--force', '--grace-period=0')
    await until('main is ready again', 180, async () =>
      await kubectl('-n', 'keybuzz-n8n', 'get', 'pods', '-l', 'app=n8n-main', '-o', 'jsonpath={.items[*].metadata.name}') !== pod
      && await kubectl('-n', 'keybuzz-n8n', 'get', 'deployment', 'n8n-main', '-o', 'jsonpath={.status.readyReplicas}') === '1')
    const away = (Date.now() - began) / 1000
    await new Promise((resolve) => setTimeout(resolve, 30_000))
    const executions = await executionsOf(id)
    const times = executions.map(({ startedAt }) => Date.parse(startedAt)).toSorted((a, b) => a - b)
    const due = Math.floor((times.at(-1)! - times[0]!) / 10_000)
    console.log(`  main was away for ${away.toFixed(0)} s; ${executions.length} executions, of ${due + 1} that were due`)
    assert.ok(Math.abs(executions.length - (due + 1)) <= 1, times.map((time) => new Date(time).toISOString()).join(' '))
  } finally {
    await archive(id)
  }
})

test('Superset takes a login and queries a database, also in the background', async () => {
  const [host] = hosts.superset
  const { access_token: token } = await said<{ access_token: string }>(host, '/api/v1/security/login', {
    method: 'POST', json: { username: 'admin', password: givenSecrets['KEYBUZZ_SUPERSET_ADMIN_PASSWORD'], provider: 'db' }
  })
  const bearer = { Authorization: `Bearer ${token}` }
  const csrf = await ask(host, '/api/v1/security/csrf_token/', { headers: bearer })
  assert.is(csrf.status, 200, csrf.body)
  const headers = {
    ...bearer, Cookie: csrf.cookies, Referer: `https://${host}/`, 'X-CSRFToken': (JSON.parse(csrf.body) as { result: string }).result
  }
  // Of the passwords of the lab the one without a %: docs/superset.md says what Superset does with that.
  const password = encodeURIComponent(givenSecrets['KEYBUZZ_CHATWOOT_POSTGRES_PASSWORD']!)
  const { id } = await said<{ id: number }>(host, '/api/v1/database/', {
    method: 'POST', headers,
    json: {
      database_name: `lab-${Date.now()}`, sqlalchemy_uri: `postgresql://chatwoot:${password}@10.0.0.10:5432/chatwoot`,
      expose_in_sqllab: true, allow_run_async: true
    }
  })
  try {
    const query = (runAsync: boolean, sql: string): Asked => ({
      method: 'POST', headers, json: { database_id: id, sql, runAsync, schema: 'public', client_id: Math.random().toString(36).slice(2, 12) }
    })
    for (const through of ['10.0.0.5', '10.0.0.6']) {
      const { data } = await said<{ data: unknown[] }>(host, '/api/v1/sqllab/execute/', { ...query(false, 'select 6 * 7 as answer'), through })
      assert.equal(data, [{ answer: 42 }])
    }
    // Only a worker runs it: web has answered by then.
    const begun = await ask(host, '/api/v1/sqllab/execute/', query(true, 'select count(*) > 0 as many from installation_configs'))
    assert.is(begun.status, 202, begun.body)
    const { queryId } = (JSON.parse(begun.body) as { query: { queryId: number } }).query
    let key = ''
    await until('a worker has run it', 120, async () => {
      const { result } = await said<{ result: { status: string; results_key: string } }>(host, `/api/v1/query/${queryId}`, { headers })
      key = result.results_key
      return result.status === 'success'
    })
    const { data } = await said<{ data: unknown[] }>(host, `/api/v1/sqllab/results/?q=${encodeURIComponent(`(key:'${key}')`)}`, { headers })
    assert.equal(data, [{ many: true }])
  } finally {
    await said(host, `/api/v1/database/${id}`, { method: 'DELETE', headers })
  }
})

test('a second run changes nothing', async () => {
  const run = await script('09_k3s_06_deploy_core_apps', '--yes')
  assert.is(run.exitCode, 0, run.text)
  assert.equal(those(run, 'changed', 'failed'), [])
})

test.after(async () => {
  const memory = await kubectl('top', 'pods', '-A', '--containers').catch(() => '')
  console.log(memory.split('\n').filter((line) => /^keybuzz-(n8n|superset) /.test(line)).join('\n'))
  // The lab as it was: stand-ins, and nodes without the large images.
  await labUp()
  await emptyQueues()
  await converge()
  await Promise.all(workers.map((name) => exec(name, `rm -f /var/lib/rancher/k3s/agent/images/{n8n,superset}-*.tar
k3s ctr -n k8s.io images ls -q | grep -E '/(n8n:2\\.41|runners:2\\.41|superset:6\\.1\\.0-1)' | xargs -r k3s ctr -n k8s.io images rm`)))
})

test.run()
