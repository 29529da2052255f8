import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { leavesDisabled } from '../../../lib/apps/disabled.mts'
import { defaultSettings } from '../../../lib/input/settings.mts'
import { fakeKubectl } from '../../support/fake-kubectl.mts'

const told = async (mode: 'plan' | 'validate', ...namespaces: string[]) => {
  const said: string[] = []
  const kubectl = fakeKubectl(() => namespaces.map((name) => `namespace/${name}\n`).join(''))
  const settings = defaultSettings() // without Superset
  const words = await leavesDisabled({ kubectl, settings, mode, note: (line) => void said.push(line) }).check()
  return { words, said }
}

test('an application that is not enabled any more and still there is told, by a plan as a note, and does not fail', async () => {
  const evidence = '= keybuzz-superset is not enabled in the settings. What runs there is left as it is'
  assert.equal(await told('plan', 'keybuzz-api', 'keybuzz-superset'), {
    words: evidence,
    said: [`${evidence.slice(2)}. To remove it: kubectl delete namespace keybuzz-superset (docs/apps.md)`]
  })
  assert.equal(await told('validate', 'keybuzz-superset'), { words: evidence, said: [] })
})

test('where nothing of it is there nothing is said', async () => {
  assert.equal(await told('plan', 'keybuzz-api', 'superset'), { words: '', said: [] })
})

test.run()
