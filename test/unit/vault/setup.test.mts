import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { defaultSettings } from '../../../lib/input/settings.mts'
import { inCluster, inVault } from '../../../lib/vault/setup.mts'
import { fakeKubectl } from '../../support/fake-kubectl.mts'
import { fakeVault } from '../../support/fake-vault.mts'

const settings = defaultSettings()
settings.backends.vault = { ...settings.backends.vault, address: '10.0.0.151', port: 8201 }
const kubectl = fakeKubectl(() => '')

test('the cluster gets the image and the limits of the settings, and the way to their Vault', async () => {
  const text = (await inCluster({ settings, kubectl })).map(({ look }) => look).join('\n')
  for (const part of [settings.vault.agent.image, `${settings.vault.agent.resources.most_memory}Mi`, '10.0.0.151/32', 'port: 8201', 'https://10.0.0.151:8201']) {
    assert.ok(text.includes(part), part)
  }
})

test('Vault gets the mounts of the settings', () => {
  const names = inVault(fakeVault().vault, { settings, kubectl }, { given: [], known: new Map() }).map(({ name }) => name)
  assert.equal(names.slice(0, 3), ['lets the pods of the cluster log in at auth/k3s', 'keeps secrets at keybuzz', 'makes users of databases at database'])
})

test.run()
