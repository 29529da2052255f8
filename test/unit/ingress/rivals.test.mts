import { execFileSync } from 'node:child_process'
import { chmodSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { hasNoRival, hasPortsFree } from '../../../lib/ingress/rivals.mts'
import { fakeKubectl } from '../../support/fake-kubectl.mts'

// An `ss` that prints this stands in for the node's.
const portsOf = (listeners: string): string => {
  const folder = mkdtempSync(join(tmpdir(), 'keybuzz-ss-'))
  writeFileSync(join(folder, 'ss'), `#!/bin/sh\ncat <<'END'\n${listeners}END\n`)
  chmodSync(join(folder, 'ss'), 0o755)
  const env = { ...process.env, PATH: `${folder}${delimiter}${process.env['PATH']}` }
  return execFileSync('bash', ['-c', `set -euo pipefail\n${hasPortsFree.check as string}`], { env, encoding: 'utf8' })
}

test('a process of the node that has a port is named once, though it listens with two sockets', () => {
  const mine = `users:(("node",pid=${process.pid},fd=18),("node",pid=${process.pid},fd=19))`
  const [line = '', ...more] = portsOf(`LISTEN 0 511 0.0.0.0:80 0.0.0.0:* ${mine}\n`).trim().split('\n')
  assert.match(line, new RegExp(`^0\\.0\\.0\\.0:80 is taken by \\S+ \\(process ${process.pid}\\): .*node`))
  assert.equal(more, [])
})

test('a process that has ended since is nobody: nginx replaces its own at each reload', () => {
  assert.is(portsOf('LISTEN 0 511 0.0.0.0:80 0.0.0.0:* users:(("nginx",pid=99999999,fd=18))\n'), '')
})

test('nothing is said where nobody listens', () => {
  assert.is(portsOf(''), '')
})

const pod = (namespace: string, name: string, ...hostPorts: (number | undefined)[]) =>
  ({ metadata: { namespace, name }, spec: { containers: [{ ports: hostPorts.map((hostPort) => (hostPort === undefined ? {} : { hostPort })) }, {}] } })
const rivals = (...items: object[]): Promise<string> => hasNoRival(fakeKubectl(() => JSON.stringify({ items }))).check()

test("pods that take the ingress's ports of their node are named, with what to do about K3s's own", async () => {
  assert.equal((await rivals(
    pod('web', 'apache-1', 8080, 443), pod('kube-system', 'svclb-traefik-x', 80), pod('monitoring', 'exporter', 9113)
  )).split('\n'), [
    'web/apache-1 has the ports 8080, 443 of its node',
    "kube-system/svclb-traefik-x has the port 80 of its node: K3s's own Traefik and servicelb are on; 09_k3s_02 turns them off",
    'monitoring/exporter has the port 9113 of its node'
  ])
})

test('the ingress itself, other ports, and ports that are not of the node are no rivals', async () => {
  assert.is(await rivals(pod('nginx-ingress', 'nginx-ingress-x7', 80, 443), pod('web', 'app', 9100), pod('web', 'app', undefined)), '')
})

test.run()
