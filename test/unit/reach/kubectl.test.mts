import { existsSync } from 'node:fs'
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { ApiAway, createKubectl, KubectlError, kubectlOf } from '../../../lib/reach/kubectl.mts'
import { eventually } from '../../support/eventually.mts'

const folder = await mkdtemp(join(tmpdir(), 'keybuzz-kubectl-'))
test.after(() => rm(folder, { recursive: true }))

// A k3s that answers what the file `words` holds, as an error, and remembers what it was asked. Servers of the file `ready`
// answer by themselves.
const k3s = join(folder, 'k3s')
await writeFile(k3s, `#!/bin/bash
printf '%s\\n' "\${*:6}" >> ${folder}/asked
for server in $(cat ${folder}/ready); do if [[ " $* " == *" $server "* ]]; then echo ok; exit; fi; done
[[ -s ${folder}/words ]] || { echo ok; exit; }
cat ${folder}/words >&2
exit 1
`)
await chmod(k3s, 0o755)
const servers = ['https://10.0.0.100:6443', 'https://10.0.0.101:6443']
const said: string[] = []
const created = (more: Partial<Parameters<typeof createKubectl>[0]> = {}) => createKubectl({
  k3s: async () => k3s, context: 'test', servers: [], signal: new AbortController().signal, say: (line) => void said.push(line), ...more
})
const kubectl = created()

const whileIt = async (says: string, ready: string[] = []): Promise<void> => {
  await writeFile(join(folder, 'words'), says)
  await writeFile(join(folder, 'ready'), ready.join('\n'))
  await writeFile(join(folder, 'asked'), '')
}
const asked = async (): Promise<string[]> => (await readFile(join(folder, 'asked'), 'utf8')).trim().split('\n')
const wordsOf = (call: Promise<string>): Promise<string> =>
  call.then((answer) => `no error but ${answer}`, (error: unknown) => (error instanceof KubectlError ? error.message : String(error)))

const late = 'Unable to connect to the server: context deadline exceeded'

test('where the load balancer does not answer, a server that is ready is asked from then on, which is said once', async () => {
  const asking = created({ servers })
  await whileIt(late, [servers[1]!])
  assert.equal(await Promise.all([asking`get nodes`, asking`get pods`]), ['ok\n', 'ok\n'])
  assert.is(await asking`get services`, 'ok\n')
  assert.equal(said.splice(0), ['the API does not answer within 7 s. From now on https://10.0.0.101:6443 is asked, which is ready.'])
  const all = await asked()
  assert.is(all.filter((line) => line.includes('/readyz')).length, servers.length)
  assert.is(all.at(-1), '--request-timeout 20s --server https://10.0.0.101:6443 get services')
})

test('where that server dies as well, another one is looked for', async () => {
  const asking = created({ servers })
  await whileIt(late, [servers[1]!])
  await asking`get nodes`
  await whileIt(late, [servers[0]!])
  await new Promise((resolve) => setTimeout(resolve, 1100)) // the answers of the last search are kept for a second
  assert.is(await asking`get nodes`, 'ok\n')
  assert.match(said.splice(0).at(-1) ?? '', /From now on https:\/\/10\.0\.0\.100:6443 is asked/)
})

test('once no server was ready, the next commands fail at once instead of waiting in vain', async () => {
  const asking = created({ servers })
  await whileIt(late)
  assert.is(await wordsOf(asking`get nodes`), 'the API does not answer within 7 s')
  assert.is((await asked()).length, 1 + servers.length)
  assert.is(await wordsOf(asking`get pods`), 'the API does not answer within 7 s')
  assert.is((await asked()).length, 1 + servers.length)
})

test('a command that names a server is asked there only', async () => {
  const asking = created({ servers })
  await whileIt(late, [servers[1]!])
  assert.is(await wordsOf(asking({ server: servers[0]!, request: 5 })`get --raw /readyz`), 'the API does not answer within 5 s')
  assert.equal(await asked(), ['--request-timeout 5s --server https://10.0.0.100:6443 get --raw /readyz'])
})

test('a node that the API does not reach is not the API away', async () => {
  const words = 'Error from server: error dialing backend: dial tcp 10.0.0.114:10250: i/o timeout'
  await whileIt(words)
  assert.is(await wordsOf(kubectl`logs some-pod`), words)
})

test('any other error is told in its own words, and the next request asked as ever', async () => {
  await whileIt('Error from server (NotFound): nodes "k3s-worker-09" not found')
  assert.is(await wordsOf(kubectl`get node k3s-worker-09`), 'Error from server (NotFound): nodes "k3s-worker-09" not found')
  await wordsOf(kubectl`get nodes`)
  assert.equal(await asked(), ['--request-timeout 7s get node k3s-worker-09', '--request-timeout 7s get nodes'])
})

test('an API that nobody answers for is away', async () => {
  const kubectl = created()
  const words = 'The connection to the server 10.0.0.10:6443 was refused - did you specify the right host or port?'
  await whileIt(words)
  assert.is(await wordsOf(kubectl`get nodes`), `the API does not answer: ${words}`)
})

test('of an API that is not ready only what fails is told', async () => {
  const kubectl = created()
  await whileIt('Error from server (InternalError): an error on the server ("[+]ping ok\\n[-]etcd failed: reason withheld\\n'
    + '[-]etcd-readiness failed: reason withheld\\n[+]shutdown ok\\nreadyz check failed") has prevented the request from succeeding')
  assert.is(await wordsOf(kubectl`get --raw /readyz`),
    'the API is not ready: [-]etcd failed: reason withheld, [-]etcd-readiness failed: reason withheld')
})

// What a template becomes, and the options that go with it.
const seen: unknown[] = []
const told = kubectlOf(async (command, options) => {
  seen.push([command, options])
  return ''
})

test('a template is the command that an operator types: values are quoted, each item of a list', async () => {
  const manifest = 'kind: List\n'
  await told`-n kube-system get pods -l ${'k8s-app in (a, b)'} -o json`
  await told`label node ${'k3s-worker-01'} ${['a=1', 'b=c d']} --timeout=${30}s`
  await told`get pods
    -A -o 'jsonpath={.items[*].spec.nodeName}'`
  await told({ input: manifest, timeout: 5 })`apply -f -`
  assert.equal(seen, [
    [`-n kube-system get pods -l $'k8s-app in (a, b)' -o json`, {}],
    [`label node k3s-worker-01 a=1 $'b=c d' --timeout=30s`, {}],
    [`get pods -A -o 'jsonpath={.items[*].spec.nodeName}'`, {}],
    ['apply -f -', { input: manifest, timeout: 5 }]
  ])
})

test('kubectl gets the words as they were meant, its kubeconfig and context, and what goes to its stdin', async () => {
  const echo = join(folder, 'echo')
  await writeFile(echo, '#!/bin/bash\nprintf "%s\\n" "$@"; cat\n', { mode: 0o755 })
  const asking = created({ k3s: async () => echo, context: 'keybuzz-test' })
  const words = await asking({ input: 'on stdin\n' })`get pods -l ${"it's $HOME"} -o 'jsonpath={.items[*]}' ${[]}`
  assert.match(words, /^kubectl\n--kubeconfig\n\/.+\/\.kube\/config\n--context\nkeybuzz-test\n--request-timeout\n7s\n/)
  assert.is(words.split('7s\n')[1], "get\npods\n-l\nit's $HOME\n-o\njsonpath={.items[*]}\non stdin\n")
})

test("nothing of the operator's environment reaches kubectl, and a command that reads stdin ends", async () => {
  const tells = join(folder, 'tells')
  await writeFile(tells, '#!/bin/bash\ncat\nenv\n', { mode: 0o755 })
  const strange = { KUBECTL_EXTERNAL_DIFF: 'true', KUBERC: '/theirs', KUBECONFIG: '/theirs', HTTPS_PROXY: 'http://theirs', LANG: 'fr_FR.UTF-8' }
  Object.assign(process.env, strange)
  const given = await created({ k3s: async () => tells })({ timeout: 5 })`delete -f -`
  for (const name of Object.keys(strange)) delete process.env[name]
  assert.match(given, /^KUBERC=off$/m)
  assert.match(given, /^KUBECTL_KUBERC=false$/m)
  assert.not.match(given, /theirs|fr_FR|EXTERNAL_DIFF/)
})

test('an error holds what was printed before it, and the exit code', async () => {
  const half = join(folder, 'half')
  await writeFile(half, '#!/bin/bash\necho found; exit 7\n', { mode: 0o755 })
  const asking = created({ k3s: async () => half })
  const error = await asking`get nodes`.then(() => undefined, (thrown: KubectlError) => thrown)
  assert.instance(error, KubectlError)
  assert.not.instance(error, ApiAway)
  assert.equal([error?.message, error?.stdout, error?.exitCode], ['kubectl get nodes: exit 7', 'found\n', 7])
})

test('a command that takes too long, or is interrupted, is ended', async () => {
  const [slow, pids] = [join(folder, 'slow'), join(folder, 'pids')]
  await writeFile(slow, `#!/bin/bash\necho $$ >> ${pids}\nexec sleep 60\n`, { mode: 0o755 })
  const warnings: string[] = []
  const warned = ({ message }: Error): void => void warnings.push(message)
  process.on('warning', warned)
  const interrupt = new AbortController()
  const asking = created({ k3s: async () => slow, signal: interrupt.signal })
  assert.is(await wordsOf(asking({ timeout: 0.3 })`get nodes`), 'kubectl get nodes: timed out after 0.3 s')
  const running = asking`get nodes`
  const begun = async (): Promise<boolean> => (await readFile(pids, 'utf8').catch(() => '')).trim().split('\n').filter(Boolean).some((pid) => existsSync(`/proc/${pid}`))
  await eventually('it has begun', begun)
  interrupt.abort()
  assert.is(await running.then(() => '', (error: Error) => error.name), 'AbortError')
  assert.is(await asking`get nodes`.then(() => '', (error: Error) => error.name), 'AbortError')
  const own = new AbortController().signal
  assert.is(await wordsOf(asking({ timeout: 0.3, signal: own })`get nodes`), 'kubectl get nodes: timed out after 0.3 s')
  const started = (await readFile(pids, 'utf8')).trim().split('\n')
  assert.ok(started.length > 0)
  await eventually('they have ended', () => !started.some((pid) => existsSync(`/proc/${pid}`)))
  process.off('warning', warned)
  assert.equal(warnings, [])
})

test('the binary is asked for with the first command, not before', async () => {
  let asked = 0
  const lazy = created({ k3s: async () => (asked++, k3s) })
  assert.is(asked, 0)
  await whileIt('')
  await lazy`get nodes`
  assert.is(asked, 1)
})

test.run()
