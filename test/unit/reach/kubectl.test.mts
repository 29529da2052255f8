import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { createKubectl, KubectlError } from '../../../lib/reach/kubectl.mts'

const folder = await mkdtemp(join(tmpdir(), 'keybuzz-kubectl-'))
test.after(() => rm(folder, { recursive: true }))

// A k3s that answers what the file `words` holds, as an error, and remembers what it was asked.
const k3s = join(folder, 'k3s')
await writeFile(k3s, `#!/bin/bash
printf '%s\\n' "\${*:6}" >> ${folder}/asked
[[ -s ${folder}/words ]] || { echo ok; exit; }
cat ${folder}/words >&2
exit 1
`)
await chmod(k3s, 0o755)
const kubectl = createKubectl(k3s, 'test')

const whileIt = async (says: string): Promise<void> => {
  await writeFile(join(folder, 'words'), says)
  await writeFile(join(folder, 'asked'), '')
}
const asked = async (): Promise<string[]> => (await readFile(join(folder, 'asked'), 'utf8')).trim().split('\n')
const wordsOf = (call: Promise<string>): Promise<string> =>
  call.then((answer) => `no error but ${answer}`, (error: unknown) => (error instanceof KubectlError ? error.message : String(error)))

test('once the API was away, the next requests ask first, and briefly, whether it is ready', async () => {
  await whileIt('Unable to connect to the server: context deadline exceeded')
  assert.is(await wordsOf(kubectl(['get', 'nodes'])), 'the API does not answer within 20 s')
  assert.is(await wordsOf(kubectl(['get', 'pods'])), 'the API does not answer within 2 s')
  assert.is(await wordsOf(kubectl(['get', 'pods', '--server', 'https://10.0.0.100:6443'])), 'the API does not answer within 20 s')
  assert.equal(await asked(), [
    '--request-timeout 20s get nodes', '--request-timeout 2s get --raw /readyz',
    '--request-timeout 20s get pods --server https://10.0.0.100:6443'
  ])

  await whileIt('')
  assert.is(await kubectl(['get', 'nodes']), 'ok\n')
  assert.is(await kubectl(['get', 'pods']), 'ok\n')
  assert.equal(await asked(), [
    '--request-timeout 2s get --raw /readyz', '--request-timeout 20s get nodes', '--request-timeout 20s get pods'
  ])
})

test('a node that the API does not reach is not the API away', async () => {
  const words = 'Error from server: error dialing backend: dial tcp 10.0.0.114:10250: i/o timeout'
  await whileIt(words)
  assert.is(await wordsOf(kubectl(['logs', 'some-pod'])), words)
})

test('any other error is told in its own words, and the next request asked as ever', async () => {
  await whileIt('Error from server (NotFound): nodes "k3s-worker-09" not found')
  assert.is(await wordsOf(kubectl(['get', 'node', 'k3s-worker-09'])), 'Error from server (NotFound): nodes "k3s-worker-09" not found')
  await wordsOf(kubectl(['get', 'nodes']))
  assert.equal(await asked(), ['--request-timeout 20s get node k3s-worker-09', '--request-timeout 20s get nodes'])
})

test('an API that nobody answers for is away', async () => {
  const words = 'The connection to the server 10.0.0.10:6443 was refused - did you specify the right host or port?'
  await whileIt(words)
  assert.is(await wordsOf(kubectl(['get', 'nodes'])), `the API does not answer: ${words}`)
  await whileIt('')
  await kubectl(['get', 'nodes'])
})

test('of an API that is not ready only what fails is told', async () => {
  await whileIt('Error from server (InternalError): an error on the server ("[+]ping ok\\n[-]etcd failed: reason withheld\\n'
    + '[-]etcd-readiness failed: reason withheld\\n[+]shutdown ok\\nreadyz check failed") has prevented the request from succeeding')
  assert.is(await wordsOf(kubectl(['get', '--raw', '/readyz'])),
    'the API is not ready: [-]etcd failed: reason withheld, [-]etcd-readiness failed: reason withheld')
})

test.run()
