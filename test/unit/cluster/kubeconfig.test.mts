import { execFileSync, spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createServer } from 'node:tls'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { parse, stringify } from 'yaml'
import { hostOf } from '../../support/hosts.mts'
import { commands } from '../../support/node-shell.mts'

const home = mkdtempSync(join(tmpdir(), 'keybuzz-home-'))
process.env['HOME'] = home
const { kubeconfig } = await import('../../../lib/base/home.mts')
const { defaultSettings } = await import('../../../lib/input/settings.mts')
const { answersThroughBalancer, hasContext, hasReadableKubeconfig, isCertified } = await import('../../../lib/cluster/kubeconfig.mts')
const { answeringSsh } = await import('../../support/answering-ssh.mts')
const { fakeKubectl } = await import('../../support/fake-kubectl.mts')
// The tests remove its folder.
if (!kubeconfig.startsWith(home)) throw new Error('HOME was read before it was set')

const settings = defaultSettings()
const first = hostOf('k3s-master-01', { role: 'server', address: '10.0.0.100', user: 'admin' })

// As K3s writes it.
const ofServer = `apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: Q0E=
    server: https://127.0.0.1:6443
  name: default
contexts:
- context:
    cluster: default
    user: default
  name: default
current-context: default
kind: Config
preferences: {}
users:
- name: default
  user:
    client-certificate-data: Q0VSVA==
    client-key-data: S0VZ
`
const ssh = answeringSsh((script) => {
  assert.is(script, 'cat /etc/rancher/k3s/k3s.yaml')
  return ofServer
})
const step = hasContext({ settings, ssh }, first)

const ours = {
  cluster: { 'certificate-authority-data': 'Q0E=', server: 'https://10.0.0.10:6443' },
  user: { 'client-certificate-data': 'Q0VSVA==', 'client-key-data': 'S0VZ' },
  context: { cluster: 'keybuzz-prod', user: 'keybuzz-prod' }
}
const put = (text: string): void => {
  mkdirSync(dirname(kubeconfig), { recursive: true })
  writeFileSync(kubeconfig, text)
  chmodSync(kubeconfig, 0o600)
}
const written = (): Record<string, unknown> => parse(readFileSync(kubeconfig, 'utf8')) as Record<string, unknown>

test.before.each(() => rmSync(dirname(kubeconfig), { recursive: true, force: true }))

test('a missing kubeconfig is made, for its owner alone, with the address of the load balancer', async () => {
  assert.is(step.name, `is the context keybuzz-prod of ${kubeconfig}`)
  assert.is(await step.check(), 'the file is missing')
  await step.change!()
  assert.is(await step.check(), '')
  assert.equal([kubeconfig, dirname(kubeconfig)].map((path) => statSync(path).mode & 0o777), [0o600, 0o700])
  assert.equal(written(), {
    apiVersion: 'v1', kind: 'Config',
    clusters: [{ name: 'keybuzz-prod', cluster: ours.cluster }],
    users: [{ name: 'keybuzz-prod', user: ours.user }],
    contexts: [{ name: 'keybuzz-prod', context: ours.context }],
    'current-context': 'keybuzz-prod'
  })
})

const others = {
  apiVersion: 'v1', kind: 'Config', preferences: { colors: true },
  clusters: [
    { name: 'keybuzz-prod', cluster: { server: 'https://10.0.0.10:6443', 'certificate-authority-data': 'b2xk' } },
    { name: 'work', cluster: { server: 'https://work' } }
  ],
  users: [{ name: 'work', user: { token: 'theirs' } }],
  contexts: [{ name: 'work', context: { cluster: 'work', user: 'work', namespace: 'team' } }],
  'current-context': 'work'
}

test('an existing kubeconfig keeps what is there, and its order', async () => {
  put(stringify(others))
  assert.is(await step.check(), 'the context is missing or differs')
  await step.change!()
  assert.equal(written(), {
    ...others,
    clusters: [{ name: 'keybuzz-prod', cluster: ours.cluster }, others.clusters[1]],
    users: [...others.users, { name: 'keybuzz-prod', user: ours.user }],
    contexts: [...others.contexts, { name: 'keybuzz-prod', context: ours.context }]
  })
  assert.is(await step.check(), '')
})

test('a file that others can read is told, and made private', async () => {
  await step.change!()
  for (const mode of [0o640, 0o604]) {
    chmodSync(kubeconfig, mode)
    assert.is(await step.check(), 'others can read the file')
  }
  await step.change!()
  assert.is(await step.check(), '')
})

test("another server's certificate of the same CA is as good, another CA's or one that expires soon is not", async () => {
  const folder = mkdtempSync(join(tmpdir(), 'keybuzz-certificates-'))
  const openssl = (...args: string[]): void => void execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' })
  const ca = (name: string): void =>
    openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', `/CN=${name}`, '-keyout', `${name}.key`, '-out', `${name}.crt`)
  const administrator = (name: string, signer: string, days: number): Record<string, string> => {
    openssl('req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', '/CN=system:admin', '-keyout', `${name}.key`, '-out', `${name}.csr`)
    openssl('x509', '-req', '-in', `${name}.csr`, '-CA', `${signer}.crt`, '-CAkey', `${signer}.key`, '-CAcreateserial', '-days', `${days}`, '-out', `${name}.crt`)
    const [certificate = '', key = ''] = [`${name}.crt`, `${name}.key`].map((file) => readFileSync(join(folder, file)).toString('base64'))
    return { 'client-certificate-data': certificate, 'client-key-data': key }
  }
  ca('k3s-client-ca@1')
  ca('k3s-client-ca@2')
  const theirs = administrator('first', 'k3s-client-ca@1', 365)
  const says = (user: Record<string, string>) => stringify({ ...parse(ofServer) as object, users: [{ name: 'default', user }] })
  const own = hasContext({ settings, ssh: answeringSsh(() => says(theirs)) }, first)
  await own.change!()
  for (const [user, words] of [
    [administrator('second', 'k3s-client-ca@1', 300), ''],
    [administrator('stranger', 'k3s-client-ca@2', 300), 'the context is missing or differs'],
    [administrator('old', 'k3s-client-ca@1', 50), 'the context is missing or differs'],
    [{ ...theirs, 'client-key-data': administrator('other', 'k3s-client-ca@1', 300)['client-key-data']! }, 'the context is missing or differs']
  ] as const) {
    put(stringify({ ...written(), users: [{ name: 'keybuzz-prod', user }] }))
    assert.is(await own.check(), words)
  }
  rmSync(folder, { recursive: true })
})

test('an empty file is filled', async () => {
  put('')
  assert.is(await step.check(), 'the context is missing or differs')
  await step.change!()
  assert.is(await step.check(), '')
})

test('a file that kubectl has written anew, in its own order, still holds', async () => {
  put(`apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: Q0E=
    server: https://10.0.0.10:6443
  name: keybuzz-prod
contexts:
- context:
    cluster: keybuzz-prod
    user: keybuzz-prod
  name: keybuzz-prod
current-context: keybuzz-prod
kind: Config
preferences: {}
users:
- name: keybuzz-prod
  user:
    client-certificate-data: Q0VSVA==
    client-key-data: S0VZ
`)
  assert.is(await step.check(), '')
})

test('a file from which kubectl has removed the last context is filled again', async () => {
  put('apiVersion: v1\nclusters: null\ncontexts: null\ncurrent-context: ""\nkind: Config\npreferences: {}\nusers: null\n')
  assert.is(await step.check(), 'the context is missing or differs')
  await step.change!()
  assert.is(await step.check(), '')
  assert.is(written()['current-context'], 'keybuzz-prod')
})

test('a context of another cluster is told in the plan, and kept by another name', async () => {
  const sshOf = (ca: string) => answeringSsh(() => ofServer.replace('Q0E=', ca))
  await hasContext({ settings, ssh: sshOf('b2xk') }, first).change!()
  assert.is(await step.check(), 'names a cluster with another CA (cba06b57, https://10.0.0.10:6443), which stays as keybuzz-prod-cba06b57')
  await step.change!()
  assert.is(await step.check(), '')
  assert.equal((written()['contexts'] as { name: string }[]).map(({ name }) => name), ['keybuzz-prod', 'keybuzz-prod-cba06b57'])
})

test('what is no kubeconfig stops everything before the first change', async () => {
  assert.is(hasReadableKubeconfig.always, true)
  assert.is(await hasReadableKubeconfig.check(), '')
  put('kind: Config\ncontexts: null\n')
  assert.is(await hasReadableKubeconfig.check(), '')
  put('some words\n')
  for (const work of [hasReadableKubeconfig.check, step.check, step.change!])
    await work().then(() => assert.unreachable(), (error: Error) => assert.match(error.message, /config:1 kubeconfig "some words": expected /))
  assert.is(readFileSync(kubeconfig, 'utf8'), 'some words\n')
})

test('what a server prints instead of its kubeconfig is not kept', async () => {
  for (const text of ['', 'Welcome', ofServer.replace('S0VZ', '"$(reboot)"')])
    await hasContext({ settings, ssh: answeringSsh(() => text) }, first).check()
      .then(() => assert.unreachable(), (error: Error) => assert.is(error.message, 'the server has no kubeconfig yet'))
})

test('a server without a kubeconfig says so, and the file stays as it is', async () => {
  put(stringify(others))
  const none = hasContext({ settings, ssh: answeringSsh(() => '{}') }, first)
  for (const work of [none.check, none.change!])
    await work().then(() => assert.unreachable(), (error: Error) => assert.is(error.message, 'the server has no kubeconfig yet'))
  assert.equal(written(), others)
})

const second = hostOf('k3s-master-02', { role: 'server', address: '10.0.0.101' })

/** What is said where requests to these addresses fail; one to the load balancer fails so many times. */
const balanced = async (down: string[], failing = 0) => {
  const asked: (string | undefined)[] = []
  const kubectl = fakeKubectl((command, { server }) => {
    assert.is(command, 'get --raw /readyz')
    asked.push(server)
    const through = server === 'https://10.0.0.10:6443'
    if (through ? asked.filter((one) => one === server).length <= failing : down.some((one) => server?.includes(one))) throw new Error('no answer')
    return 'ok'
  })
  return { asked, words: await answersThroughBalancer({ kubectl, servers: [first, second], settings }).check() }
}

test('the API is asked often enough through the load balancer to reach every server, and each server by itself', async () => {
  const { asked, words } = await balanced([])
  assert.is(words, '')
  assert.equal(asked.toSorted(), [
    'https://10.0.0.100:6443', 'https://10.0.0.101:6443', ...Array.from({ length: 4 }, () => 'https://10.0.0.10:6443')
  ])
})

test("the load balancer's fault is told from the servers'", async () => {
  const told = async (...args: Parameters<typeof balanced>): Promise<string> => (await balanced(...args)).words
  assert.is(await told([], 1), '1 of 4 requests failed (no answer): every server answers by itself, so it is the load balancer')
  assert.is(await told(['10.0.0.101'], 2), '2 of 4 requests failed (no answer): k3s-master-01 answers by itself, k3s-master-02 does not: it goes on sending there')
  assert.is(await told(['10.0.0.10'], 4), '4 of 4 requests failed (no answer): no server answers by itself either')
  assert.is(await told(['10.0.0.101']), '', 'a server that is down is not this step\'s')
})

test('an interruption is thrown', async () => {
  const interrupted = Object.assign(new Error('interrupted'), { name: 'AbortError' })
  const kubectl = fakeKubectl(() => { throw interrupted })
  await answersThroughBalancer({ kubectl, servers: [first], settings }).check()
    .then(() => assert.unreachable(), (error: unknown) => assert.is(error, interrupted))
})

test('by hand the same context is merged into the file, with sudo for the server and for the owner alone', () => {
  put(stringify(others))
  const path = [commands({
    ssh: `[[ "$*" == 'admin@10.0.0.100 sudo cat /etc/rancher/k3s/k3s.yaml' ]] && cat <<'END'\n${ofServer}END`,
    // As kubectl merges: of two files that name the same, the first counts.
    k3s: '[[ "$*" == "kubectl config view --flatten" ]] && echo "# $KUBECONFIG" && cat "${KUBECONFIG%%:*}"'
  }), process.env['PATH']].join(':')
  const cwd = mkdtempSync(join(tmpdir(), 'keybuzz-by-hand-'))
  const { stderr } = spawnSync('bash', ['-c', step.byHand!], { cwd, env: { ...process.env, PATH: path }, encoding: 'utf8' })
  assert.is(stderr, '')
  assert.match(readFileSync(kubeconfig, 'utf8'), new RegExp(`^# keybuzz-prod.yaml:${kubeconfig}\n`))
  assert.equal(written(), {
    apiVersion: 'v1', kind: 'Config', preferences: {},
    clusters: [{ name: 'keybuzz-prod', cluster: ours.cluster }],
    users: [{ name: 'keybuzz-prod', user: ours.user }],
    contexts: [{ name: 'keybuzz-prod', context: ours.context }]
  })
  assert.is(statSync(kubeconfig).mode & 0o777, 0o600)
})

/** Serves a certificate with these names where a server's API would be, on an address of this machine. */
const withApi = async (names: string, use: (address: string) => Promise<void>): Promise<void> => {
  const pem = execFileSync('openssl', [
    'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-subj', '/CN=k3s',
    '-addext', `subjectAltName=${names}`, '-keyout', '-'
  ], { stdio: ['ignore', 'pipe', 'ignore'] })
  const api = createServer({ key: pem, cert: pem })
  await new Promise<void>((resolve) => void api.listen(6443, '127.77.0.1', resolve))
  try {
    await use((api.address() as AddressInfo).address)
  } finally {
    api.close()
  }
}

test('a server must be certified for the load balancer, its names, and every server', async () => {
  const server = hostOf('k3s-master-01', { role: 'server', address: '127.77.0.1' })
  const named = { ...settings, load_balancers: { ...settings.load_balancers, api: { ...settings.load_balancers.api, names: ['api.keybuzz.test'] } } }
  const check = (): Promise<string> => (isCertified(server, { settings: named, servers: [server, first] }).check as () => Promise<string>)()
  assert.match(isCertified(server, { settings: named, servers: [server, first] }).look!, /^openssl .* # all of 10\.0\.0\.10, api\.keybuzz\.test, 127\.77\.0\.1, 10\.0\.0\.100$/)
  await withApi('DNS:kubernetes,DNS:api.keybuzz.test,IP:10.0.0.10,IP:127.77.0.1,IP:10.0.0.100', async () => assert.is(await check(), ''))
  await withApi('DNS:kubernetes,IP:10.0.0.10,IP:127.77.0.1', async () =>
    assert.is(await check(), 'its certificate lacks api.keybuzz.test, 10.0.0.100'))
  await check().then(() => assert.unreachable(), (error: NodeJS.ErrnoException) => assert.is(error.code, 'ECONNREFUSED'))
})

test.run()
