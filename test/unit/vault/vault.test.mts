import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { defaultSettings, vaultUrl } from '../../../lib/input/settings.mts'
import { isUnsealed, vaultCa } from '../../../lib/vault/vault.mts'
import { fakeVault } from '../../support/fake-vault.mts'

const folder = mkdtempSync(join(tmpdir(), 'keybuzz-vault-'))
test.after(() => rmSync(folder, { recursive: true }))

test('the address has the scheme of the settings', () => {
  const settings = defaultSettings()
  assert.is(vaultUrl(settings), 'https://10.0.0.150:8200')
  settings.backends.vault.tls = false
  assert.is(vaultUrl(settings), 'http://10.0.0.150:8200')
})

test('the CA is read from its file, and a file that has none is refused', async () => {
  const settings = defaultSettings()
  assert.is(await vaultCa(settings), '')
  const file = join(folder, 'ca.pem')
  settings.backends.vault.ca = file
  for (const make of [() => {}, () => writeFileSync(file, 'a key')]) {
    make()
    await vaultCa(settings).then(() => assert.unreachable(), ({ message }: Error) =>
      assert.is(message, `settings.yaml backends.vault.ca "${file}": expected a file on the bastion with a certificate in PEM form. Copy the certificate of Vault's CA there.`))
  }
  writeFileSync(file, '-----BEGIN CERTIFICATE-----\n')
  assert.is(await vaultCa(settings), '-----BEGIN CERTIFICATE-----\n')
})

test('a sealed Vault is a finding', async () => {
  assert.is(await isUnsealed({ ...fakeVault().vault, state: async () => 'is sealed: vault operator unseal' }).check(), 'is sealed: vault operator unseal')
})

test.run()
