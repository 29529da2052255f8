import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { UsageError } from '../../../lib/base/errors.mts'
import { isComplete } from '../../../lib/run/complete.mts'
import type { Run } from '../../../lib/run/run.mts'

const fault = { file: 'settings.yaml', what: 'apps.api.image', expected: 'an image', remedy: 'Set it.' }
const words = 'settings.yaml apps.api.image: expected an image. Set it.'

const told = async (mode: Run['mode'], faults: (typeof fault)[]): Promise<string[]> => {
  const lines: string[] = []
  const goesOn = await isComplete({
    mode,
    once: async (steps) => { for (const { name, check } of steps) lines.push(`${name}: ${await check()}`) },
    skipRest: () => void lines.push('rest skipped')
  }, { of: 'the applications', script: '09_k3s_06_deploy_core_apps', faults })
  return [...lines, goesOn ? 'goes on' : 'ends']
}

test('a plan and an apply are refused with all that is missing', async () => {
  for (const mode of ['plan', 'apply'] as const) {
    assert.equal(await told(mode, []), ['goes on'])
    await told(mode, [fault, fault]).then(() => assert.unreachable(), (error: unknown) => {
      assert.instance(error, UsageError)
      assert.is((error as Error).message, `${words}\n${words}`)
    })
  }
})

test('a validation has it as a finding, and skips the rest of the story alone', async () => {
  assert.equal(await told('validate', []), ['has all settings of the applications: ', 'goes on'])
  assert.equal(await told('validate', [fault]), [`has all settings of the applications: ${words}`, 'rest skipped', 'ends'])
})

test('a runbook goes on: it has placeholders', async () => {
  assert.equal(await told('runbook', [fault]), ['goes on'])
})

test.run()
