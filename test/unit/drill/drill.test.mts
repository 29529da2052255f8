// Before anything is taken away. What is taken away is drilled in the lab.
import { execFileSync } from 'node:child_process'
import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Run } from '../../../lib/run/run.mts'
import type { Host } from '../../../lib/input/inventory.mts'
import { eventually } from '../../support/eventually.mts'
import { fakeKubectl } from '../../support/fake-kubectl.mts'
import { useFakeSsh } from '../../support/fake-ssh.mts'

const folder = useFakeSsh()
const log = join(folder, 'log')
// Each server says of its etcd what a file named after its address holds.
writeFileSync(join(folder, 'ssh'), `#!/bin/bash
if [[ $1 == -V ]]; then exit; fi
for word; do target=$command; command=$word; done
read -r seconds size
script=$(head -c "$size")
eval "\${script%%$'\\n'*}" # its mark
case $script in
  *systemd-run*) echo "cut $target" >> ${log} ;;
  *2381*) cat "${folder}/\${target#*@}" || exit 1 ;;
  *keybuzz-drill*) echo "clean $target" >> ${log}; cat ${folder}/left ;;
esac
`)
chmodSync(join(folder, 'ssh'), 0o755)

const { drill, DrillFailed } = await import('../../../lib/drill/drill.mts')
const { createRun } = await import('../../../lib/run/run.mts')
const { releaseByName } = await import('../../../lib/reach/release.mts')
const { createSsh } = await import('../../../lib/reach/ssh.mts')
const { defaultSettings } = await import('../../../lib/input/settings.mts')

const host = (name: string, address: string, role: Host['role']): Host => ({
  name, address, publicAddress: '', user: 'root', fqdn: '', role, stack: '', pool: 'general', line: 2
})
const servers = ['a', 'b', 'c'].map((name, index) => host(`master-${name}`, `10.0.0.10${index}`, 'server'))
const hosts = [...servers, host('worker-a', '10.0.0.110', 'agent'), host('worker-b', '10.0.0.111', 'agent')]
const leader = 'etcd_server_is_leader 1\netcd_server_is_learner 0\n"health":"true"\n'
const follower = leader.replace('leader 1', 'leader 0')

execFileSync('openssl', [
  'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', '/CN=x', '-days', '2', '-keyout', 'key', '-out', 'cert'
], { cwd: folder, stdio: 'ignore' })
const [key, cert] = ['key', 'cert'].map((name) => readFileSync(join(folder, name), 'base64'))
const config = JSON.stringify({
  clusters: [{ cluster: { 'certificate-authority-data': cert } }],
  users: [{ user: { 'client-certificate-data': cert, 'client-key-data': key } }]
})

type Faults = { few?: Host[]; etcd?: string[]; left?: string; unready?: string; voters?: number; pods?: number; ingress?: number }

const start = ({ etcd = [leader, follower, follower], left = '', unready, voters = 3, pods = 3, ingress = 4, few = hosts }: Faults) => {
  writeFileSync(log, '')
  writeFileSync(join(folder, 'left'), left)
  for (const [index, said] of etcd.entries()) writeFileSync(join(folder, servers[index]!.address), said)
  const notes: string[] = []
  const asked: string[] = []
  const interrupt = new AbortController()
  const condition = (type: string, so: boolean) => ({ type, status: so ? 'True' : 'False' })
  const items = (list: unknown[]): string => JSON.stringify({ items: list })
  const kubectl = fakeKubectl((command) => {
    asked.push(command)
    if (command.startsWith('config')) return config
    if (command.includes('get nodes')) {
      return items(hosts.map(({ name }, index) => ({
        metadata: { name }, spec: {}, status: { conditions: [condition('Ready', name !== unready), condition('EtcdIsVoter', index < voters)] }
      })))
    }
    if (command.includes('get daemonset')) return JSON.stringify({ status: { desiredNumberScheduled: 4, numberReady: ingress } })
    if (command.includes('get pods')) {
      return items(Array.from({ length: pods }, () => ({
        metadata: { name: 'x', uid: 'x' }, spec: { nodeName: 'worker-a' }, status: { conditions: [condition('Ready', true)] }
      })))
    }
    return ''
  })
  const settings = defaultSettings()
  const { signal } = interrupt
  const run: Run = createRun({
    mode: 'apply', script: 'x', hosts: few, machines: [], chosen: few, pending: false, signal, kubectl, ssh: createSsh({ signal }),
    release: async () => ({ ...releaseByName(settings), busybox: 'rancher/mirrored-library-busybox:1.99' }),
    settings: { ...settings, load_balancers: { api: { address: '127.0.0.1', port: 1, names: [] }, http: [] } },
    listener: { begins: () => {}, ends: () => {}, outcome: () => {}, note: (line) => notes.push(line) }
  })
  return { notes, asked, interrupt, drilled: drill(run, { canaryHost: 'canary.test', calm: 0.6 }) }
}
const failure = async (promise: Promise<unknown>): Promise<Error> =>
  promise.then(() => { throw new Error('it did not fail') }, (error: Error) => error)
const done = (): string[] => readFileSync(log, 'utf8').trim().split('\n').filter((line) => line.startsWith('cut'))

test('with anything unwell nothing is taken away, and all of it is told', async () => {
  const { drilled, asked } = start({ etcd: [leader, leader, 'etcd_server_is_leader 0\n'], unready: 'worker-a', voters: 2, ingress: 3 })
  const error = await failure(drilled)
  assert.instance(error, DrillFailed)
  assert.equal(error.message.replace(/\d+ of the last \d+/, 'N of the last N'), `Nothing is taken away, for not all is well:
worker-a is not Ready
etcd has 2 voters instead of 3
etcd on master-c is not healthy
etcd has 2 leaders
3 of 4 ingress pods are ready
the API: N of the last N requests failed (connection refused)`)
  assert.equal(done(), [])
  assert.ok(asked.some((line) => line.startsWith('delete')), 'its pods are removed')
})

test('a learner is no voter yet, and a server that does not say anything is told', async () => {
  const { drilled } = start({ etcd: [leader, follower.replace('learner 0', 'learner 1'), ''] })
  const { message } = await failure(drilled)
  assert.match(message, 'etcd on master-b is no voter yet')
  assert.match(message, 'etcd on master-c is not healthy')
})

test('what an earlier drill has left is taken back first, and told', async () => {
  const { drilled, notes } = start({ left: 'restored\n', unready: 'worker-a' })
  await failure(drilled)
  assert.is(notes[0], 'master-a still had a cut of an earlier drill; it is taken back')
  assert.is(notes.length, hosts.length)
})

test('an interruption before the first cut leaves nothing behind', async () => {
  const { drilled, interrupt, asked } = start({})
  await eventually('it applies', () => asked.some((line) => line.startsWith('apply')))
  interrupt.abort()
  assert.is((await failure(drilled)).name, 'AbortError')
  assert.equal(done(), [])
  assert.ok(asked.some((line) => line.startsWith('delete')))
})

test('a cluster that could not get over it is left alone', async () => {
  for (const few of [[...servers.slice(0, 1), ...hosts.slice(3)], hosts.slice(0, 4)]) {
    const { drilled, asked } = start({ few })
    const error = await failure(drilled)
    assert.instance(error, DrillFailed)
    assert.match(error.message, /^Nothing is taken away: a cluster gets over it with 3 servers and 2 workers at least, and this one has/)
    assert.equal([done(), asked], [[], []])
  }
})

test.run()
