import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { parseAllDocuments } from 'yaml'
import {
  clusterFaults, ingressPods, leaseOf, nextLeader, podNodes, readQuorum, runElsewhere, withPods
} from '../../../lib/drill/cluster.mts'
import { readManifest } from '../../../lib/cluster/objects.mts'
import type { Host } from '../../../lib/input/inventory.mts'
import type { KubectlOptions } from '../../../lib/reach/kubectl.mts'
import { createSsh, type Ssh } from '../../../lib/reach/ssh.mts'
import { eventually } from '../../support/eventually.mts'
import { fakeKubectl } from '../../support/fake-kubectl.mts'

const host = (name: string, role: Host['role']): Host => ({
  name, address: '10.0.0.1', publicAddress: '', user: 'root', fqdn: '', role, stack: '', pool: 'general', line: 2
})
const servers = ['a', 'b', 'c'].map((name) => host(`master-${name}`, 'server'))
const worker = host('worker-a', 'agent')
const hosts = [...servers, worker]
const signal = new AbortController().signal

type Shape = { on?: string; ready?: boolean; leaving?: boolean; uid?: string }
const pod = ({ on = 'worker-a', ready = true, leaving = false, uid = 'x' }: Shape = {}) => ({
  metadata: { name: uid, namespace: 'x', uid, creationTimestamp: '', ...(leaving ? { deletionTimestamp: 'now' } : {}) },
  spec: { nodeName: on },
  status: {
    phase: 'Running', conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }],
    containerStatuses: [{ ready, state: ready ? { running: {} } : { waiting: { reason: 'ErrImagePull' } } }]
  }
})
const items = (list: unknown[]): string => JSON.stringify({ items: list })

// What each server's etcd says, by the server's name; one that is not there does not answer.
const sshOf = (says: Record<string, string>): { ssh: Ssh; asked: string[] } => {
  const asked: string[] = []
  const capture: Ssh['capture'] = async ({ name }, script) => {
    asked.push(script)
    const said = says[name]
    if (said === undefined) throw new Error('unreachable')
    return said
  }
  return { ssh: { ...createSsh(), capture }, asked }
}
const leads = 'etcd_server_is_leader 1\netcd_server_is_learner 0\n{"health":"true"}\n'
const follows = leads.replace('leader 1', 'leader 0')
const well = { 'master-a': leads, 'master-b': follows, 'master-c': follows }

const busybox = 'rancher/mirrored-library-busybox:1.99'

test('the pods of the manifest are those that are waited for', async () => {
  const [namespace, deployment] = parseAllDocuments(await readManifest('09_drill/moving-pods.yaml', { BUSYBOX: busybox })).map((one) => one.toJS())
  assert.is(namespace.metadata.name, 'keybuzz-drill')
  assert.is(deployment.spec.template.spec.containers[0].image, busybox)
  assert.equal([deployment.metadata.namespace, deployment.spec.replicas], ['keybuzz-drill', 3])
  const asked: string[] = []
  const kubectl = fakeKubectl((command) => (asked.push(command), command.startsWith('get pods') ? items([pod(), pod(), pod()]) : ''))
  await withPods({ kubectl, signal, busybox }, async () => {})
  assert.ok(asked.some((command) => command.startsWith('get namespace keybuzz-drill ')))
  assert.ok(asked.includes('get pods -n keybuzz-drill -o json'))
})

test("the drill's pods are used once all run, and removed whatever comes of it", async () => {
  const asked: string[] = []
  let looks = 0
  const kubectl = fakeKubectl((command, { input = '' }) => {
    asked.push(command.split(' ')[0]!)
    if (input !== '') assert.match(input, /kind: Deployment/)
    if (command.startsWith('get namespace')) return ''
    return command.startsWith('get pods') ? items([pod(), pod(), pod({ ready: looks++ > 0 })]) : ''
  })
  const failure = await withPods({ kubectl, signal, busybox }, async () => { throw new Error('the world is round') }).catch((error: Error) => error)
  assert.is((failure as Error).message, 'the world is round')
  assert.is(looks, 2)
  assert.equal(asked, ['get', 'apply', 'get', 'get', 'delete'])
})

test('a namespace that an earlier drill is still removing is waited for', async () => {
  const phases = ['Terminating', '']
  const asked: string[] = []
  const kubectl = fakeKubectl((command) => {
    asked.push(command.split(' ').slice(0, 2).join(' '))
    if (command.startsWith('get namespace')) return phases.shift() ?? ''
    return command.startsWith('get pods') ? items([pod(), pod(), pod()]) : ''
  })
  assert.is(await withPods({ kubectl, signal, busybox }, async () => 'used'), 'used')
  assert.equal(asked.slice(0, 3), ['get namespace', 'get namespace', 'apply --server-side'])
})

test('pods count where they are ready and stay, and as moved once none is on the dead node', async () => {
  const kubectlOf = (pods: Shape[]) => fakeKubectl(() => items(pods.map(pod)))
  const moving = kubectlOf([{ on: 'b' }, { on: 'c' }, { on: 'worker-a', leaving: true }, { on: 'b', ready: false }])
  assert.equal(await podNodes(moving), ['b', 'c'])
  assert.not(await runElsewhere(moving, worker))
  assert.not(await runElsewhere(kubectlOf([{ on: 'b' }, { on: 'c' }, {}]), worker))
  assert.ok(await runElsewhere(kubectlOf([{ on: 'b' }, { on: 'c' }, { on: 'b' }, { leaving: true }]), worker))
})

test('only ingress pods that are ready are told', async () => {
  const asked: string[] = []
  const kubectl = fakeKubectl((command) => (asked.push(command), items([pod({ uid: 'one' }), pod({ uid: 'two', ready: false })])))
  assert.equal((await ingressPods(kubectl)).map(({ metadata }) => metadata.uid), ['one'])
  assert.match(asked[0]!, /^get pods -n nginx-ingress -l \S*app=nginx-ingress\S* -o json$/)
})

type Cluster = { unready?: string; voters?: number; ingress?: number; lease?: string }

// A cluster's API; `seen` holds the signal that each question came with.
const apiOf = ({ unready = '', voters = 3, ingress = 4, lease = 'now' }: Cluster = {}) => {
  const seen: KubectlOptions['signal'][] = []
  const asked: string[] = []
  const kubectl = fakeKubectl((command, { signal: own }) => {
    seen.push(own)
    asked.push(command)
    const condition = (type: string, so: boolean) => ({ type, status: so ? 'True' : 'False' })
    if (command.includes('lease')) return lease
    if (command.includes('daemonset')) return JSON.stringify({ status: { desiredNumberScheduled: 4, numberReady: ingress } })
    return items(hosts.map(({ name }, index) => ({
      metadata: { name }, spec: {}, status: { conditions: [condition('Ready', name !== unready), condition('EtcdIsVoter', index < voters)] }
    })))
  })
  return { kubectl, seen, asked }
}

test('a cluster that is well has no faults, and all that is wrong is told at once', async () => {
  const { ssh } = sshOf(well)
  assert.equal(await clusterFaults({ hosts, servers, ssh, kubectl: apiOf().kubectl }, { signal }), [])
  const sick = apiOf({ unready: 'worker-a', voters: 2, ingress: 3 })
  assert.equal(await clusterFaults({ hosts, servers, ssh, kubectl: sick.kubectl }, { signal }), [
    'worker-a is not Ready', 'etcd has 2 voters instead of 3', '3 of 4 ingress pods are ready'
  ])
})

test('a host that was away is back once its lease is renewed', async () => {
  const faults = async (known: string) => {
    const { kubectl, asked } = apiOf({ lease: 'now' })
    return { asked, faults: await clusterFaults({ hosts, servers, ssh: sshOf(well).ssh, kubectl }, { returning: { host: worker, lease: known }, signal }) }
  }
  assert.equal((await faults('now')).faults, ['worker-a is not back yet'])
  assert.equal((await faults('before')).faults, [])
  const unknown = await faults('')
  assert.equal(unknown.faults, [])
  assert.not(unknown.asked.some((command) => command.includes('lease')))
  assert.is(await leaseOf(apiOf({ lease: 'then' }).kubectl, worker), 'then')
})

test("the cluster is looked at after an interruption too: no question takes the run's signal", async () => {
  const { kubectl, seen } = apiOf()
  await clusterFaults({ hosts, servers, ssh: sshOf(well).ssh, kubectl }, { returning: { host: worker, lease: 'then' }, signal })
  assert.is(seen.length, 3)
  assert.ok(seen.every((own) => own === signal))
})

test('an API that does not answer is told once', async () => {
  const kubectl = fakeKubectl(() => { throw new Error('the API does not answer') })
  assert.equal(await clusterFaults({ hosts, servers, ssh: sshOf(well).ssh, kubectl }, { signal }), ['the API does not answer'])
})

test('of etcd it is told who leads, who is silent, sick or no voter yet', async () => {
  assert.equal(await readQuorum(sshOf(well).ssh, servers, signal), { leader: servers[0], faults: [] })
  const two = await readQuorum(sshOf({ ...well, 'master-b': leads }).ssh, servers, signal)
  assert.equal(two, { leader: undefined, faults: ['etcd has 2 leaders'] })
  const sick = { 'master-b': follows.replace('learner 0', 'learner 1'), 'master-c': follows.replace('true', 'false') }
  assert.equal(await readQuorum(sshOf(sick).ssh, servers, signal), {
    leader: undefined,
    faults: ['etcd on master-a does not answer', 'etcd on master-b is no voter yet', 'etcd on master-c is not healthy', 'etcd has 0 leaders']
  })
})

test('a new leader is waited for, with no question that waits for a quorum', async () => {
  const says = { 'master-b': follows, 'master-c': follows }
  const { ssh, asked } = sshOf(says)
  const leader = nextLeader(ssh, servers.slice(1), { seconds: 10, signal })
  await eventually('they are asked again', () => asked.length >= 4)
  says['master-c'] = leads
  assert.is(await leader, servers[2])
  assert.not(asked.some((script) => /\bhealth\b/.test(script)))
  assert.is(await nextLeader(sshOf({}).ssh, servers, { seconds: 0, signal }), undefined)
})

test('waiting for a leader ends with an interruption', async () => {
  const interrupt = new AbortController()
  setTimeout(() => interrupt.abort(), 50)
  const failure = await nextLeader(sshOf({}).ssh, servers, { seconds: 10, signal: interrupt.signal }).catch((error: Error) => error)
  assert.is((failure as Error).name, 'AbortError')
})

test.run()
