import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
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

const notes: string[] = []
const run = (environment: string, mode: 'plan' | 'apply'): Run =>
  ({ mode, settings: { ...defaultSettings(), environment }, note: (line: string) => void notes.push(line) }) as unknown as Run
const secrets = join(folder, '.keybuzz/secrets')
const keptFiles = (environment: string): Record<string, string> => Object.fromEntries(readdirSync(secrets)
  .filter((name) => name.startsWith(`${environment}-`)).map((name) => [name, readFileSync(join(secrets, name), 'utf8').trim()]))
test.before.each(() => void notes.splice(0))

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

test('the token that another one takes the place of stays, and is said', async () => {
  const before = await server('rotated', 'apply')
  await server('rotated', 'apply', file('rotated', 'given-by-hand'))
  const { 'rotated-k3s-server-token': now, 'rotated-k3s-agent-token': agent, ...others } = keptFiles('rotated')
  assert.is(now, 'given-by-hand')
  assert.equal(Object.values(others), [before])
  const [name] = Object.keys(others)
  assert.match(name!, /^rotated-k3s-server-token-until-\d{8}T\d{6}Z$/)
  assert.equal(notes, [`The former server token stays in ~/.keybuzz/secrets/${name}: snapshots that were made with it need it.`])
  assert.is(statSync(join(secrets, name!)).mode & 0o777, 0o600)
  await server('rotated', 'apply')
  assert.is(Object.keys(keptFiles('rotated')).length, 3, 'the same once more is no other one')
  assert.ok(agent)
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

test('a second cluster of the same environment is refused, also in a plan, and the tokens of the first stay', async () => {
  const running = (mode: 'plan' | 'apply', part: string, itsCa: string): Run =>
    ({ ...run('twice', mode), ssh: answeringSsh(() => has(part).replaceAll(`K10${ca}`, `K10${itsCa}`)) }) as Run
  const other = 'f'.repeat(64)
  await clusterTokens(running('apply', 'one', ca), { from: first, file: undefined })
  const before = keptFiles('twice')
  for (const mode of ['plan', 'apply'] as const) {
    const error = await clusterTokens(running(mode, 'two', other), { from: second, file: undefined }).then(() => assert.unreachable(mode), (thrown: Error) => thrown)
    assert.instance(error, UsageError)
    assert.is((error as Error).message, `${secrets}/twice-k3s-server-token token (CA 00000000): expected the one of the cluster that k3s-master-02 is in ` +
      '(CA ffffffff). It is of another cluster. Give this one another environment in the settings (twice now). If the other one is gone for good, ' +
      'rename the file: its snapshots cannot be restored without it.')
  }
  assert.equal(keptFiles('twice'), before)
  // A token that was rotated, and a cluster that was made anew with its old token, are no other cluster.
  await clusterTokens(running('apply', 'rotated', ca), { from: first, file: undefined })
  await clusterTokens(running('apply', 'rotated', other), { from: first, file: undefined })
  assert.is(Object.values(keptFiles('twice')).includes(before['twice-k3s-server-token']!), true)
  assert.is(keptFiles('twice')['twice-k3s-server-token'], `K10${other}::server:rotated`)
  // Of a token without a hash nobody knows whose it is.
  writeFileSync(join(secrets, 'twice-k3s-server-token'), 'bare\n')
  await clusterTokens(running('plan', 'one', ca), { from: first, file: undefined })
    .then(() => assert.unreachable(), (error: Error) => assert.match(error.message, /token \(CA unknown\): expected/))
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
