import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { parse } from 'yaml'
import { defaultSettings } from '../../../lib/input/settings.mts'
import { scrapeValues } from '../../../lib/monitoring/scrape.mts'
import { targetsOf } from '../../../lib/monitoring/targets.mts'

test('each list of targets is YAML on one line', async () => {
  const settings = defaultSettings()
  const targets = targetsOf([], settings)
  const values = await scrapeValues(settings, targets)
  assert.equal(parse(values['BACKENDS']!), targets.backends)
  assert.equal(parse(values['REDIS']!), [])
  assert.ok(Object.values(values).every((value) => !value.includes('\n')))
})

test('tokens are read from files, where the settings say that there are some; Vault speaks TLS unless they say otherwise', async () => {
  const settings = defaultSettings()
  const plain = await scrapeValues(settings, targetsOf([], settings))
  assert.equal([plain['MINIO_AUTHORIZATION'], plain['VAULT_AUTHORIZATION'], plain['VAULT_SCHEME']], ['null', 'null', 'https'])
  settings.monitoring.minio.token = true
  settings.monitoring.vault.token = true
  settings.backends.vault.tls = false
  const values = await scrapeValues(settings, targetsOf([], settings))
  assert.equal(parse(values['MINIO_AUTHORIZATION']!), { credentials_file: '/etc/prometheus/tokens/minio-token' })
  assert.equal(parse(values['VAULT_AUTHORIZATION']!), { credentials_file: '/etc/prometheus/tokens/vault-token' })
  assert.is(values['VAULT_SCHEME'], 'http')
})

test("Prometheus shows a token of Vault's to nobody but Vault", async () => {
  const settings = defaultSettings()
  const tls = async () => parse((await scrapeValues(settings, targetsOf([], settings)))['VAULT_TLS']!)
  assert.equal(await tls(), { insecure_skip_verify: true })
  settings.monitoring.vault.token = true
  assert.equal(await tls(), {})
  const pem = '-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n'
  settings.backends.vault.ca = join(mkdtempSync(join(tmpdir(), 'keybuzz-ca-')), 'ca.pem')
  writeFileSync(settings.backends.vault.ca, pem)
  assert.equal(await tls(), { ca: pem })
})

test.run()
