import { spawnSync } from 'node:child_process'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Host } from '../../../lib/input/inventory.mts'
import { createSsh, type Result, type Ssh } from '../../../lib/reach/ssh.mts'
import { readNode } from '../../../lib/validation/bundle-node.mts'

const host = (role: Host['role']): Host => ({
  name: 'a', address: '10.0.0.1', publicAddress: '', user: 'root', fqdn: '', role, stack: '', pool: 'general', line: 2
})

// A node that answers what the test says; `told` prints a part as the node does.
const sshThat = (answer: (told: (name: string, text: string, code: number) => string) => Partial<Result>): { ssh: Ssh; scripts: string[] } => {
  const scripts: string[] = []
  const run: Ssh['run'] = async (_, script) => {
    scripts.push(script)
    const mark = /\u001e[0-9a-f-]{36}/.exec(script)![0]
    return { stdout: '', stderr: '', exitCode: 0, ...answer((name, text, code) => `${mark} ${name}\n${text}\n${code}`) }
  }
  return { ssh: { ...createSsh(), run }, scripts }
}
const named = (script: string): string[] => [...script.matchAll(/^part \d+ (\S+)$/gm)].map(([, name = '']) => name)

test('the script of either role is one that bash can read, and only a server is asked for etcd', async () => {
  const { ssh, scripts } = sshThat((told) => ({ stdout: told('system', 'Linux', 0) }))
  for (const role of ['server', 'agent'] as const) await readNode(ssh, host(role))
  for (const script of scripts) {
    const { status, stderr } = spawnSync('bash', ['-n'], { input: script, encoding: 'utf8' })
    assert.equal([status, stderr], [0, ''])
  }
  const [server = [], agent = []] = scripts.map(named)
  assert.ok(['journal', 'etcd-health', 'etcd-metrics', 'snapshots', 'readyz'].every((name) => server.includes(name)), server.join(' '))
  assert.equal(agent, server.slice(0, agent.length))
  assert.not(agent.some((name) => /etcd|snapshots|readyz/.test(name)))
})

test('what each command printed is kept, and why it is not all there', async () => {
  const { ssh } = sshThat((told) => ({
    stdout: [
      told('system', 'Linux a\nDebian', 0), told('memory', 'free: not found', 127), told('disks', 'half of it', 124), told('network', '', 1)
    ].join('')
  }))
  const parts = new Map((await readNode(ssh, host('agent'))).map((part) => [part.name, part]))
  assert.equal(parts.get('system'), { name: 'system', text: 'Linux a\nDebian' })
  assert.equal(parts.get('memory'), { name: 'memory', text: 'free: not found', fault: 'free: not found, exit 127' })
  assert.equal(parts.get('disks'), { name: 'disks', text: 'half of it', fault: 'took longer than 20 s' })
  assert.equal(parts.get('network'), { name: 'network', text: '', fault: 'exit 1' })
  assert.equal(parts.get('firewall'), { name: 'firewall', text: '', fault: 'was not reached in time' })
})

test('a part that was cut off in the middle says so', async () => {
  const { ssh } = sshThat((told) => ({ stdout: told('system', 'Linux', 0) + told('memory', 'total used', 0).slice(0, -2) }))
  const [, memory] = await readNode(ssh, host('agent'))
  assert.equal(memory, { name: 'memory', text: 'total used', fault: 'was cut off' })
})

test('a node on which nothing could be run is an error, in its own words', async () => {
  const { ssh } = sshThat(() => ({ stderr: 'sudo: a password is required', exitCode: 1 }))
  const error = await readNode(ssh, host('agent')).catch((one: Error) => one)
  assert.is((error as Error).message, 'sudo: a password is required\nexit 1')
})

test.run()
