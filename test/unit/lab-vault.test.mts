// The lab's Vault: what vault-01 and the bastion get of it.
import { X509Certificate } from 'node:crypto'
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { readSettings } from '../../lib/input/settings.mts'
import { vault } from '../lab/containers.mts'

const root = new URL('../..', import.meta.url).pathname
const folder = await mkdtemp(join(tmpdir(), 'keybuzz-lab-vault-'))
test.after(() => rm(folder, { recursive: true }))

// Before it is read: the lab keeps its certificates in its cache.
process.env['XDG_CACHE_HOME'] = folder
const { vaultFiles } = await import('../lab/vault.mts')
const files = await vaultFiles()
const fileOf = (machine: string, target: string) =>
  files.find((one) => one.machine === machine && one.file.target === target)?.file

test("the certificate is of the lab's own authority, and for the address and the name at which Vault is asked", async () => {
  const ca = new X509Certificate(fileOf('bastion', '/etc/keybuzz-lab/vault-ca.pem')!.content)
  const certificate = new X509Certificate(fileOf('vault-01', '/etc/vault.d/cert.pem')!.content)
  assert.ok(certificate.checkIssued(ca) && certificate.verify(ca.publicKey))
  const servers = await readFile(`${root}servers.tsv`, 'utf8')
  const [, name = ''] = new RegExp(`\t${vault.name}\t${vault.private}\t(\\S+)\t`).exec(servers) ?? []
  for (const address of [vault.private, '127.0.0.1']) assert.is(certificate.checkIP(address), address)
  for (const host of [name, vault.name, 'localhost']) assert.is(certificate.checkHost(host), host)
})

test('both are made once; the keys are for their owner alone, and no machine has that of the authority', async () => {
  assert.equal(await vaultFiles(), files)
  const tls = join(folder, 'keybuzz-lab/vault/tls')
  for (const name of ['ca.key', 'key.pem']) assert.is((await stat(join(tls, name))).mode & 0o777, 0o600, name)
  assert.is((await stat(tls)).mode & 0o777, 0o700)
  assert.is(fileOf('vault-01', '/etc/vault.d/key.pem')!.mode, 0o600)
  const secret = await readFile(join(tls, 'ca.key'), 'utf8')
  assert.not.ok(files.some(({ file: { content } }) => content.includes(secret)))
})

test('vault-01 serves the address of the settings over TLS, with the files that it is given', async () => {
  const { backends: { vault: { address, port, tls, ca } } } = await readSettings(`${root}test/lab/settings.yaml`)
  const { content } = fileOf('vault-01', '/etc/vault.d/vault.hcl')!
  assert.ok(tls)
  assert.ok(fileOf('bastion', ca), ca)
  assert.ok(content.includes(`"https://${address}:${port}"`))
  assert.ok(content.includes(`"0.0.0.0:${port}"`))
  assert.not.match(content, /tls_disable/)
  for (const [, target = ''] of content.matchAll(/_file += "(.+)"/g)) assert.ok(fileOf('vault-01', target), target)
  const unit = fileOf('vault-01', '/etc/systemd/system/vault.service')!.content
  assert.match(unit, '-config=/etc/vault.d/vault.hcl')
  assert.not.match(unit, '-dev')
  assert.is(fileOf('vault-01', '/usr/local/lib/lab/vault-install')!.mode & 0o111, 0o111)
})

test.run()
