import { execFile } from 'node:child_process'
import { chmodSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { checkOf } from '../../../lib/ingress/check.mts'
import { drains, isStopped, staysHealthy, turnsUnhealthy } from '../../../lib/ingress/proofs.mts'
import type { Host } from '../../../lib/input/inventory.mts'
import { defaultSettings } from '../../../lib/input/settings.mts'
import { createSsh } from '../../../lib/reach/ssh.mts'
import { fakeKubectl } from '../../support/fake-kubectl.mts'

// The check's port is 80. Nothing listens there on this address of this machine.
const host: Host = {
  name: 'k3s-worker-05', address: '127.0.0.80', publicAddress: '', user: 'root', fqdn: '', role: 'agent', stack: '', pool: 'general', line: 2
}
const check = checkOf(defaultSettings())

// Runs shell of a state as the node does, with an `ss` that prints these listeners; signals and files are told, not sent.
const onNode = (shell: string, listeners: string): Promise<{ code: number; printed: string }> => {
  const folder = mkdtempSync(join(tmpdir(), 'keybuzz-ss-'))
  writeFileSync(join(folder, 'ss'), `#!/bin/sh\n[ "$*" = '-Hltnp sport = :8081' ] || [ "$*" = '-Hltnp sport = :80' ] || exit 9\n${listeners && `echo '${listeners}'`}\n`)
  chmodSync(join(folder, 'ss'), 0o755)
  const env = { ...process.env, PATH: `${folder}${delimiter}${process.env['PATH']}` }
  const script = `set -euo pipefail\nkill() { echo "kill $*"; }; touch() { echo "touch $*"; }; rm() { echo "rm $*"; }\n${shell}`
  return new Promise((resolve) => {
    execFile('bash', ['-c', script], { env }, (error, stdout, stderr) =>
      resolve({ code: error ? Number(error.code) : 0, printed: `${stdout}${stderr}`.trim() }))
  })
}
const listeners = 'LISTEN 0 511 0.0.0.0:80 0.0.0.0:* users:(("nginx",pid=812,fd=6),("nginx",pid=840,fd=6),("nginx",pid=812,fd=7))'

test('each process that listens is stopped once, and goes on again', async () => {
  assert.equal(await onNode(isStopped(8081).begin, listeners), { code: 0, printed: 'kill -STOP 812\nkill -STOP 840' })
  assert.equal(await onNode(isStopped(8081).mend, listeners), { code: 0, printed: 'kill -CONT 812\nkill -CONT 840' })
})

test("a node drains by the file in nginx's own container", async () => {
  assert.is((await onNode(drains.begin, listeners)).printed, 'touch /proc/812/root/tmp/drain\ntouch /proc/840/root/tmp/drain')
  assert.is((await onNode(drains.mend, listeners)).printed, 'rm -f /proc/812/root/tmp/drain\nrm -f /proc/840/root/tmp/drain')
})

test('where nothing listens it cannot begin, and there is nothing to mend', async () => {
  assert.equal(await onNode(isStopped(80).begin, ''), { code: 1, printed: 'nothing listens on 80' })
  assert.equal(await onNode(isStopped(80).mend, ''), { code: 0, printed: '' })
})

test('the application is removed, also when the run is interrupted while it is waited for', async () => {
  const stop = new AbortController()
  const asked: string[] = []
  const kubectl = fakeKubectl((command, { input = '' }) => {
    asked.push(command)
    assert.match(input, /host: no-endpoints\.keybuzz\.internal/)
    setTimeout(() => stop.abort(), 30)
    return ''
  })
  const step = await staysHealthy({ kubectl, signal: stop.signal }, host, check)
  assert.type(step.check, 'function')
  const failure = await (step.check as () => Promise<string>)().catch((error: Error) => error.name)
  assert.is(failure, 'AbortError')
  assert.equal(asked.map((command) => command.split(' ')[0]), ['apply', 'delete'])
})

test('by hand it is shell that bash can read, and the node mends itself', async () => {
  const { signal } = new AbortController()
  const proof = turnsUnhealthy({ ssh: createSsh(), signal }, host, check, { what: 'it drains', state: drains, serves: true })
  const steps = [proof, await staysHealthy({ kubectl: fakeKubectl(() => ''), signal }, host, check)]
  for (const { look = '' } of steps) {
    assert.equal(await new Promise((resolve) => execFile('bash', ['-n', '-c', look], (error) => resolve(error))), null)
  }
  const [, inside = ''] = /<<'END' &\n(.*)\nEND\n/s.exec(proof.look ?? '') ?? []
  assert.is(inside, `${drains.begin}\nsleep 40\n${drains.mend}`)
})

test.run()
