// What each event takes away, and when it says that the cluster has got over it. Nothing is taken away here.
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { isolateLeader, killIngress, killLeader, loseLeader, loseWorker, type EventContext } from '../../../lib/drill/events.mts'
import type { Host } from '../../../lib/input/inventory.mts'
import { createSsh, type Ssh } from '../../../lib/reach/ssh.mts'
import { fakeKubectl } from '../../support/fake-kubectl.mts'

const host = (name: string, address: string, role: Host['role']): Host => ({
  name, address, publicAddress: '', user: 'root', fqdn: '', role, stack: '', pool: 'general', line: 2
})
const servers = ['a', 'b', 'c'].map((name, index) => host(`master-${name}`, `10.0.0.10${index}`, 'server'))
const agents = ['a', 'b'].map((name, index) => host(`worker-${name}`, `10.0.0.11${index}`, 'agent'))

type Shape = { on: string; uid?: string }
const pod = ({ on, uid = on }: Shape) => ({
  metadata: { name: `pod-${uid}`, namespace: 'x', uid }, spec: { nodeName: on },
  status: { phase: 'Running', conditions: [{ type: 'Ready', status: 'True' }] }
})

type Cluster = { leader?: string; pods?: Shape[]; troubles?: string[]; silent?: string[]; killed?: () => Promise<string> }

const contextOf = ({ leader = 'master-b', pods = [], troubles = [], silent = [], killed = async () => '' }: Cluster = {}) => {
  const cluster = { leader, pods }
  const notes: string[] = []
  const scripts: string[] = []
  const asked: string[] = []
  const capture: Ssh['capture'] = async ({ name }, script) => {
    if (script.includes('2381')) return `etcd_server_is_leader ${name === cluster.leader ? 1 : 0}\n{"health":"true"}\n`
    scripts.push(`${name}: ${script}`)
    return script.includes('/cgroup') ? killed() : ''
  }
  const kubectl = fakeKubectl((command) => {
    asked.push(command)
    return command.startsWith('get pods') ? JSON.stringify({ items: cluster.pods.map(pod) }) : ''
  })
  const context: EventContext = {
    servers, agents, kubectl, ssh: { ...createSsh(), capture }, power: undefined, signal: new AbortController().signal,
    traffic: { samples: () => [], troubles: () => troubles, silent: () => silent, settle: async () => {}, stop: () => {} },
    note: (line) => notes.push(line), faults: async () => [], lease: async () => '', calm: 0, every: 0, patience: 0
  }
  return { context, cluster, notes, scripts, asked }
}
const ago = (seconds: number): number => performance.now() - seconds * 1000
const failure = async (promise: Promise<unknown>): Promise<string> =>
  promise.then(() => 'it did not fail', (error: Error) => error.message)

test('the leader is the one whose k3s is killed, and the time of the next one is measured', async () => {
  const { context, cluster, notes, scripts } = contextOf()
  const { what, cut, whileAway } = await killLeader(context)
  assert.equal([what, cut.host.name, cut.how], ['etcd leader killed', 'master-b', 'SIGKILL to its k3s, which is held down'])
  await cut.make(context.signal)
  assert.match(scripts[0]!, /^master-b: [^]*systemctl kill --kill-whom=main -s KILL k3s/)
  cluster.leader = 'master-c'
  const { leader = 0, problem } = await whileAway(ago(25))
  assert.ok(leader >= 25 && leader < 90, `${leader}`)
  assert.is(problem, undefined)
  assert.match(notes[0]!, /^ {2}master-c leads etcd after \d+\.\d s$/)
})

test('where nobody leads etcd, or requests go on failing, that is the problem', async () => {
  const { context, cluster } = contextOf({ troubles: ['the API: 3 of the last 50 requests failed (HTTP 503)'] })
  const { whileAway } = await killLeader(context)
  cluster.leader = 'master-a'
  assert.is((await whileAway(ago(91))).problem,
    'after 90 s there were still failures: the API: 3 of the last 50 requests failed (HTTP 503)')
  const nobody = contextOf()
  const event = await isolateLeader(nobody.context)
  nobody.cluster.leader = ''
  assert.is((await event.whileAway(ago(61))).problem, 'no other server led etcd within 60 s')
})

test('without a leader there is nothing to begin with', async () => {
  assert.is(await failure(killLeader(contextOf({ leader: '' }).context)), 'etcd has 0 leaders')
})

test("the leader's machine is switched off where that can be done, and cut off where not", async () => {
  const off: string[] = []
  const power = { off: async ({ name }: Host) => void off.push(name), on: async () => {} }
  const { context } = contextOf()
  const { what, cut } = await loseLeader({ ...context, power })
  assert.equal([what, cut.how, cut.comesBack], ["etcd leader's machine dies", 'its power is switched off', false])
  await cut.make(context.signal)
  assert.equal(off, ['master-b'])
  const without = (await loseLeader(context)).cut
  assert.equal([without.how, without.comesBack], ['no power control: cut off from everything but the bastion instead', true])
})

test('a worker that has a pod of the drill dies, and its pods are waited for', async () => {
  const { context, cluster } = contextOf({ pods: [{ on: 'worker-b' }, { on: 'worker-b' }, { on: 'worker-b' }] })
  const { cut, whileAway } = await loseWorker(context)
  assert.is(cut.host.name, 'worker-b')
  assert.is((await whileAway(ago(141))).problem, 'its pods did not run on other nodes within 140 s')
  cluster.pods = [{ on: 'worker-a' }, { on: 'worker-a' }, { on: 'worker-a' }]
  const { rescheduled = 0, problem } = await whileAway(ago(60))
  assert.ok(rescheduled >= 60 && rescheduled < 62, `${rescheduled}`)
  assert.is(problem, undefined)
  assert.is(await failure(loseWorker(contextOf({ pods: [{ on: 'elsewhere' }] }).context)),
    'no worker has a pod of the drill: they run on elsewhere')
})

test('an ingress pod is killed and deleted, on a worker where one has any, until another one is ready there', async () => {
  const { context, cluster, scripts, asked } = contextOf({ pods: [{ on: 'master-a' }, { on: 'worker-a' }, { on: 'worker-b', uid: '0f0e-0d0c' }] })
  const { cut, whileAway } = await killIngress(context)
  assert.is(cut.host.name, 'worker-b')
  await cut.make(context.signal)
  assert.match(scripts[0]!, /^worker-b: [^]*pod0f0e\[-_\]0d0c/)
  assert.is(asked.at(-1), '-n nginx-ingress delete pod pod-0f0e-0d0c --grace-period=0 --force --wait=false')
  assert.match((await whileAway(ago(121))).problem!, /^no other ingress pod was ready/)
  cluster.pods = [{ on: 'worker-b', uid: 'another' }]
  assert.equal(await whileAway(ago(0)), {})
  assert.is(await failure(killIngress(contextOf().context)), 'no ingress pod is ready')
})

test('a pod whose processes were not found fails the event', async () => {
  const { context, cluster } = contextOf({
    pods: [{ on: 'worker-a', uid: 'x' }], killed: async () => { throw new Error('no process of the pod was found') }
  })
  const { cut, whileAway } = await killIngress(context)
  await cut.make(context.signal)
  cluster.pods = [{ on: 'worker-a', uid: 'another' }]
  assert.is(await failure(whileAway(ago(0))), 'no process of the pod was found')
})

test('the leader is cut off from the other servers only, and somebody must be answered', async () => {
  const { context, cluster, scripts } = contextOf()
  const { cut, whileAway } = await isolateLeader(context)
  assert.is(cut.how, 'cut off from master-a and master-c')
  await cut.make(context.signal)
  assert.match(scripts[0]!, /for other in 10\.0\.0\.100 10\.0\.0\.102; do/)
  cluster.leader = 'master-a'
  const { leader = 0, problem } = await whileAway(ago(31))
  assert.ok(leader >= 31 && problem === undefined)
  const silent = contextOf({ silent: ['the API', 'HTTP through 10.0.0.5'] })
  const event = await isolateLeader(silent.context)
  silent.cluster.leader = 'master-c'
  assert.is((await event.whileAway(ago(31))).problem, 'no answer at all in the last 5 s: the API, HTTP through 10.0.0.5')
})

test.run()
