import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Run } from '../../../lib/run/run.mts'
import { useFakeSsh } from '../../support/fake-ssh.mts'
import { hostOf } from '../../support/hosts.mts'

const folder = useFakeSsh()
// Nobody is asked, also where the test is run at a terminal.
Object.defineProperty(process.stdin, 'isTTY', { value: false })
delete process.env['K3S_TOKEN']
const { answeringSsh } = await import('../../support/answering-ssh.mts')
const { defaultSettings } = await import('../../../lib/input/settings.mts')
const { UsageError } = await import('../../../lib/base/errors.mts')
const { clusterTokens, runningTokens } = await import('../../../lib/node/tokens.mts')

const run = (environment: string, mode: 'plan' | 'apply'): Run =>
  ({ mode, settings: { ...defaultSettings(), environment } }) as unknown as Run

const file = (name: string, text: string): string => {
  const path = join(folder, name)
  writeFileSync(path, text)
  return path
}
const server = async (environment: string, mode: 'plan' | 'apply', tokenFile?: string): Promise<string> =>
  (await clusterTokens(run(environment, mode), { from: undefined, file: tokenFile })).server.reveal()

test('tokens are made once for each environment, and never by a plan', async () => {
  assert.is.not(await server('prod', 'plan'), await server('prod', 'plan'))
  const prod = await server('prod', 'apply')
  assert.is(await server('prod', 'apply'), prod)
  assert.is(await server('prod', 'plan'), prod)
  assert.is.not(await server('staging', 'apply'), prod)
  assert.is(await server('prod', 'apply'), prod)
})

test('a given token goes before a kept one', async () => {
  await server('other', 'apply')
  const given = `K10${'0'.repeat(64)}::server:given-by-hand`
  assert.is(await server('other', 'apply', file('given', `${given}\n`)), given)
})

test('a token that a shell could misread is refused', async () => {
  for (const token of ["it's", '$(reboot)', 'two words', 'a:b', 'K10abc::server:x']) {
    try {
      await server('prod', 'apply', file('bad', token))
      assert.unreachable(token)
    } catch (error) {
      assert.instance(error, UsageError, token)
      assert.not.match((error as Error).message, /reboot/)
    }
  }
})

const first = hostOf('k3s-master-01', { role: 'server' })
const second = hostOf('k3s-master-02', { role: 'server' })
const ca = '0'.repeat(64)
const has = (part: string): string => `K10${ca}::server:${part}\nK10${ca}::node:agent-of-${part}\n`

test('the tokens are those of the first server that runs and has them', async () => {
  const ssh = answeringSsh((script, { name }) => {
    assert.is(script, 'cat /var/lib/rancher/k3s/server/token /var/lib/rancher/k3s/server/agent-token')
    if (name === first.name) throw new Error('unreachable')
    return has('running')
  })
  const tokens = await runningTokens(ssh, [first, second])
  assert.equal([tokens?.server.reveal(), tokens?.agent.reveal()], has('running').trim().split('\n'))
})

test('where no server has tokens there are none, and an interruption is thrown', async () => {
  assert.is(await runningTokens(answeringSsh(() => ({ exitCode: 1 })), [first, second]), undefined)
  assert.is(await runningTokens(answeringSsh(() => 'only-one\n'), [first]), undefined)
  const interrupted = Object.assign(new Error('interrupted'), { name: 'AbortError' })
  await runningTokens(answeringSsh(() => { throw interrupted }), [first, second])
    .then(() => assert.unreachable(), (error: unknown) => assert.is(error, interrupted))
})

test("a cluster that runs is asked for its tokens, and they are kept; another one's token is refused", async () => {
  const running = { ...run('asked', 'apply'), ssh: answeringSsh(() => has('of-cluster')) } as Run
  const tokens = await clusterTokens(running, { from: first, file: undefined })
  assert.is(tokens.server.reveal(), `K10${ca}::server:of-cluster`)
  assert.is(await server('asked', 'plan'), `K10${ca}::server:of-cluster`)
  // The hash of the CA may be left out of a given one.
  await clusterTokens(running, { from: first, file: file('same', 'of-cluster') })
  await clusterTokens(running, { from: first, file: file('another', 'of-another') }).then(() => assert.unreachable(), (error: Error) => {
    assert.instance(error, UsageError)
    assert.match(error.message, /the given token: expected the one that k3s-master-01 has/)
    assert.not.match(error.message, /of-another|of-cluster/)
  })
})

test('where the cluster exists and nobody has its token, none is made up in an apply', async () => {
  const lost = (mode: 'plan' | 'apply'): Run => ({ ...run('lost', mode), ssh: answeringSsh(() => ({ exitCode: 1 })) }) as Run
  await clusterTokens(lost('apply'), { from: first, file: undefined }).then(() => assert.unreachable(), (error: Error) => {
    assert.instance(error, UsageError)
    assert.match(error.message, /^K3S_TOKEN /)
  })
  assert.match((await clusterTokens(lost('plan'), { from: first, file: undefined })).server.reveal(), /^[0-9a-f]{64}$/)
})

test('a runbook names the tokens, and says where they are', async () => {
  const notes: string[] = []
  const told = { ...run('prod', 'plan'), mode: 'runbook', note: (line: string) => void notes.push(line) } as Run
  const tokens = await clusterTokens(told, { from: first, file: undefined })
  assert.equal([tokens.server.reveal(), tokens.agent.reveal()], ['<SERVER_TOKEN>', '<AGENT_TOKEN>'])
  assert.match(notes.join('\n'), /`prod-k3s-server-token`[^]*`prod-k3s-agent-token` in ~\/\.keybuzz\/secrets[^]*openssl rand -hex 32/)
})

test.run()
