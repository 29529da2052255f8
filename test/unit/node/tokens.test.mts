import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Run } from '../../../lib/run/run.mts'
import { useFakeSsh } from '../../support/fake-ssh.mts'

const folder = useFakeSsh()
const { defaultSettings } = await import('../../../lib/input/settings.mts')
const { UsageError } = await import('../../../lib/base/errors.mts')
const { clusterTokens } = await import('../../../lib/node/tokens.mts')

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

test.run()
