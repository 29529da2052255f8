import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { certificateStep, daysLeft, readPair } from '../../../lib/cluster/certificate.mts'
import { fakeKubectl } from '../../support/fake-kubectl.mts'

const folder = mkdtempSync(join(tmpdir(), 'keybuzz-certificate-'))

const issue = (name: string, days: number): { certificate: string; key: string } => {
  const [certificate, key] = [join(folder, `${name}.crt`), join(folder, `${name}.key`)]
  const how = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', String(days), '-subj', `/CN=${name}`]
  execFileSync('openssl', ['req', '-x509', ...how, '-keyout', key, '-out', certificate], { stdio: 'ignore' })
  return { certificate: readFileSync(certificate, 'utf8'), key: readFileSync(key, 'utf8') }
}
const write = (name: string, ...parts: string[]): string => {
  const file = join(folder, name)
  writeFileSync(file, parts.join(''))
  return file
}
const good = issue('app.example.com', 90)
const short = issue('short.example.com', 13)
const fault = async (file: string): Promise<string> => {
  try {
    await readPair(file)
  } catch (error) {
    return (error as Error).message.replace(file, 'FILE')
  }
  throw new Error('it was taken')
}

test('a chain and its key are read from one file, in either order and with text around them', async () => {
  const chain = write('chain.pem', good.key, 'Bag Attributes\n', good.certificate, short.certificate)
  const { certificate, key } = await readPair(chain)
  assert.equal(certificate.match(/BEGIN CERTIFICATE/g)?.length, 2)
  assert.is(new X509Certificate(certificate).subject, 'CN=app.example.com')
  assert.is(key.reveal(), good.key)
  assert.is(String(key), '[secret]')
})

test('each thing that is wrong with a file is named, with what to do', async () => {
  assert.match(await fault(join(folder, 'nowhere.pem')), /^FILE ingress\.certificate "ENOENT": expected a file that can be read\./)
  assert.match(await fault(write('alone.pem', good.certificate)), /expected a certificate chain and its private key in PEM form\. Put both/)
  assert.match(await fault(write('foreign.pem', good.certificate, short.key)), /expected the first certificate's own key\./)
  assert.match(await fault(write('short.pem', short.certificate, short.key)), /expected a certificate that lasts 14 days at least\. Renew it\./)
})

test('days are counted to the end of the first certificate', () => {
  assert.ok(Math.abs(daysLeft(good.certificate + short.certificate) - 90) < 0.1)
})

const place = { namespace: 'nginx-ingress', secret: 'default-server-tls' }
const stepFor = (found: string, file = '', given?: Awaited<ReturnType<typeof readPair>>) => {
  const applied: string[] = []
  const kubectl = fakeKubectl((command, { input }) => {
    if (input !== undefined) applied.push(input)
    return command.includes(' get secret ') ? Buffer.from(found).toString('base64') : ''
  })
  return { step: certificateStep(kubectl, { ...place, file }, given), applied }
}

test('without a file any certificate that lasts is good', async () => {
  assert.is(await stepFor('').step.check(), 'is missing')
  assert.match(await stepFor(good.certificate).step.check(), /^= CN=app\.example\.com, (89|90) days left$/)
  assert.match(await stepFor(short.certificate).step.check(), /\nends soon$/)
})

test('without a file one is made that signs itself, and holds for years', async () => {
  const { step, applied } = stepFor('')
  await step.change!()
  const { type, metadata, stringData } = JSON.parse(applied[0]!) as { type: string; metadata: object; stringData: Record<string, string> }
  assert.equal([type, metadata], ['kubernetes.io/tls', { namespace: 'nginx-ingress', name: 'default-server-tls' }])
  assert.ok(daysLeft(stringData['tls.crt']!) > 3000)
  const { certificate } = await readPair(write('made.pem', stringData['tls.crt']!, stringData['tls.key']!))
  assert.is(new X509Certificate(certificate).subject, 'CN=keybuzz-default')
})

test('with a file another certificate is replaced', async () => {
  const file = write('given.pem', good.certificate, good.key)
  const given = await readPair(file)
  assert.match(await stepFor(short.certificate, file, given).step.check(), /\nis another one$/)
  assert.match(await stepFor(given.certificate, file, given).step.check(), /days left$/)
  const { step, applied } = stepFor('', file, given)
  await step.change!()
  assert.is((JSON.parse(applied[0]!) as { stringData: Record<string, string> }).stringData['tls.key'], good.key)
})

// kubectl is replaced: the rest of the shell is run as it is printed.
const byHand = (file: string): string => {
  const { step } = stepFor('', file)
  const here = mkdtempSync(join(folder, 'hand-'))
  execFileSync('bash', ['-c', `kubectl() { :; }\nrm() { :; }\n${step.byHand!}`], { cwd: here, stdio: 'ignore' })
  return here
}

test('by hand the same pair is made, in a runbook without the file being read', () => {
  const file = write('by-hand.pem', good.key, good.certificate)
  assert.is(readFileSync(join(byHand(file), 'tls.crt'), 'utf8'), good.certificate)
  assert.is(readFileSync(join(byHand(file), 'tls.key'), 'utf8'), good.key)
  assert.ok(daysLeft(readFileSync(join(byHand(''), 'tls.crt'), 'utf8')) > 3000)
  assert.match(stepFor('', '/nowhere.pem').step.look, /\/nowhere\.pem \| diff found\.crt -$/)
})

test.run()
