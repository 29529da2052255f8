import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { getPods, isReady, rolledOut, rolloutInWords, stateOf, statusInWords, whyNotReady, type Pod } from '../../../lib/cluster/pods.mts'
import { fakeKubectl } from '../../support/fake-kubectl.mts'

const pod = (name: string, status: Partial<Pod['status']> = {}, more: { node?: string; leaving?: boolean } = {}): Pod => ({
  metadata: {
    name, namespace: 'shop', uid: name, creationTimestamp: '2026-01-01T00:00:00Z',
    ...(more.leaving ? { deletionTimestamp: '2026-01-01T00:00:00Z' } : {})
  },
  spec: more.node === undefined ? {} : { nodeName: more.node },
  status: { phase: 'Running', ...status }
})
type Container = NonNullable<Pod['status']['containerStatuses']>[number]
const ready: Pod['status']['conditions'] = [{ type: 'Ready', status: 'True' }]
const runs: Container = { name: 'web', ready: true, state: { running: {} } }
const unready: Container = { name: 'sidecar', ready: false, state: { running: {} } }
const initialised: Container = { name: 'init', ready: true, state: { terminated: { reason: 'Completed', exitCode: 0 } } }
const starting: Container = { name: 'web', ready: false, state: { waiting: { reason: 'PodInitializing' } } }
const crashing: Container = {
  name: 'crashing', ready: false,
  state: { waiting: { reason: 'CrashLoopBackOff', message: 'back-off 5m0s restarting failed container' } },
  lastState: { terminated: { reason: 'Error', exitCode: 137, message: 'first line\nout of memory\n' } }
}

test('pods are asked for by namespace, label and field, or in all namespaces', async () => {
  const asked: string[] = []
  const kubectl = fakeKubectl((command) => (asked.push(command), JSON.stringify({ items: [pod('a')] })))
  assert.equal(await getPods(kubectl, { namespace: 'shop', label: 'app=web', field: 'spec.nodeName=n1' }), [pod('a')])
  await getPods(kubectl)
  assert.equal(asked, ['get pods -n shop -l app=web --field-selector spec.nodeName=n1 -o json', 'get pods -A -o json'])
})

test('a pod is ready where its condition says so, and not while it leaves', () => {
  assert.is(isReady(pod('a', { conditions: ready })), true)
  assert.is(isReady(pod('a', { conditions: [{ type: 'Ready', status: 'False' }] })), false)
  assert.is(isReady(pod('a')), false)
  assert.is(isReady(pod('a', { conditions: ready }, { leaving: true })), false)
})

const inWords: [what: string, status: Partial<Pod['status']>, words: string][] = [
  ['crashes again and again', { containerStatuses: [runs, crashing] }, 'CrashLoopBackOff: ended with exit code 137: out of memory'],
  ['ended without a word', { phase: 'Failed', containerStatuses: [{ name: 'web', ready: false, state: { terminated: { reason: 'Error', exitCode: 2 } } }] },
    'Error: ended with exit code 2'],
  ['cannot get its image', { containerStatuses: [{ name: 'web', ready: false, state: { waiting: { reason: 'ImagePullBackOff', message: 'Back-off pulling image "x"' } } }] },
    'ImagePullBackOff: Back-off pulling image "x"'],
  ['fits on no node', { phase: 'Pending', conditions: [{ type: 'PodScheduled', status: 'False', message: '0/3 nodes are available' }] },
    'not scheduled: 0/3 nodes are available'],
  ['fails before it starts', { initContainerStatuses: [crashing], containerStatuses: [starting] },
    'CrashLoopBackOff: ended with exit code 137: out of memory'],
  ['waits for a later init container', {
    initContainerStatuses: [initialised, unready], containerStatuses: [starting]
  }, 'PodInitializing'],
  ['waits for a sidecar that has not started', {
    initContainerStatuses: [{ ...unready, started: false }, { ...starting, name: 'init' }], containerStatuses: [starting]
  }, 'waits for sidecar'],
  ['runs, and is not ready after its init container', {
    initContainerStatuses: [initialised], containerStatuses: [runs, unready],
    conditions: [{ type: 'Ready', status: 'False', message: 'containers with unready status: [sidecar]' }]
  }, 'Running: containers with unready status: [sidecar]'],
  ['was evicted', { phase: 'Failed', reason: 'Evicted', message: 'The node was low on resource: memory.' }, 'Evicted: The node was low on resource: memory.'],
  ['runs, and is not ready', {
    containerStatuses: [unready], conditions: [{ type: 'Ready', status: 'False', message: 'containers with unready status: [web]' }]
  }, 'Running: containers with unready status: [web]'],
  ['says nothing', { phase: 'Pending' }, 'Pending']
]
for (const [what, status, words] of inWords)
  test(`a pod that ${what}: ${words}`, () => assert.is(statusInWords(pod('a', status)), words))

test('a pod that is leaving is no more than that', () => {
  assert.is(statusInWords(pod('a', { containerStatuses: [crashing] }, { leaving: true })), 'is leaving')
})

/** A kubectl with an event and a log of every pod, and what it was asked. */
const telling = (event: string | Error, log: string | Error) => {
  const asked: string[] = []
  const kubectl = fakeKubectl((command) => {
    asked.push(command)
    const answer = command.includes(' get events ') ? event : log
    if (answer instanceof Error) throw answer
    return answer
  })
  return { asked, kubectl }
}

test('why a pod is not ready is told with its last warning and the last error of its log', async () => {
  const { kubectl, asked } = telling('Started\nReadiness probe failed: 503\n', 'level=info up\nlevel=error msg="no database"\nbye\n')
  const sick = pod('web-1', { containerStatuses: [unready] }, { node: 'n1' })
  assert.is(await whyNotReady(kubectl, sick), 'n1: Running: Readiness probe failed: 503: level=error msg="no database"')
  assert.match(asked[0]!, /^-n shop get events --field-selector .*involvedObject\.name=web-1,type=Warning.* --sort-by=\.lastTimestamp -o /)
  assert.not.match(asked[1]!, /--previous/)
})

test('of a container that has crashed, the log before the crash is read', async () => {
  const { kubectl, asked } = telling('', 'nginx: [emerg] bind() failed\n')
  assert.is(await whyNotReady(kubectl, pod('web-1', { containerStatuses: [crashing] }, { node: 'n1' })),
    'n1: CrashLoopBackOff: ended with exit code 137: out of memory: nginx: [emerg] bind() failed')
  assert.match(asked[1]!, / --previous$/)
})

// kubectl fails as a whole where one of all containers has no log yet, or none of before.
test('the log is that of the container that is sick, also of one that starts before the others', async () => {
  const logOf = async (status: Partial<Pod['status']>): Promise<string> => {
    const { kubectl, asked } = telling('', '')
    await whyNotReady(kubectl, pod('web-1', status))
    return asked[1]!
  }
  assert.is(await logOf({ initContainerStatuses: [initialised, crashing], containerStatuses: [starting] }),
    '-n shop logs web-1 -c crashing --tail=50 --previous')
  assert.is(await logOf({ containerStatuses: [runs, crashing] }), '-n shop logs web-1 -c crashing --tail=50 --previous')
  assert.is(await logOf({ initContainerStatuses: [initialised], containerStatuses: [runs, unready] }), '-n shop logs web-1 -c sidecar --tail=50 ')
})

test('an interruption is thrown, not passed over', async () => {
  const interrupted = Object.assign(new Error('interrupted'), { name: 'AbortError' })
  for (const { kubectl } of [telling(interrupted, ''), telling('', interrupted)])
    await whyNotReady(kubectl, pod('a', { containerStatuses: [unready] }))
      .then(() => assert.unreachable(), (error: unknown) => assert.is(error, interrupted))
})

test('a pod without a container has no log', async () => {
  const { kubectl, asked } = telling('0/3 nodes are available', 'never')
  assert.is(await whyNotReady(kubectl, pod('a', { phase: 'Pending' })), 'no node: Pending: 0/3 nodes are available')
  assert.is(asked.length, 1)
})

test('of a log without an error its last line is told', async () => {
  const { kubectl } = telling('', 'I1126 started\nwaiting for the lease\n')
  assert.is(await whyNotReady(kubectl, pod('a', { containerStatuses: [unready] }, { node: 'n1' })), 'n1: Running: waiting for the lease')
})

test('a kubectl that fails costs nothing but what it would have told', async () => {
  const { kubectl } = telling(new Error('forbidden'), new Error('container "web" is waiting to start'))
  assert.is(await whyNotReady(kubectl, pod('a', { containerStatuses: [starting] })), 'no node: PodInitializing')
})

test('a pod that is leaving is not asked about', async () => {
  const { kubectl, asked } = telling('', '')
  assert.is(await whyNotReady(kubectl, pod('a', {}, { node: 'n1', leaving: true })), 'n1: a is leaving')
  assert.equal(asked, [])
})

type Rollout = Parameters<typeof stateOf>[1]
const rollout = (status: Record<string, unknown>, spec: { replicas?: number; completions?: number } = {}): Rollout => ({
  metadata: { generation: 2 },
  spec: { selector: { matchLabels: { app: 'web', tier: 'front' } }, ...spec },
  status: { observedGeneration: 2, ...status } as NonNullable<Rollout['status']>
})

test('a Deployment is complete once all are up to date and available, and none of an older version is left', () => {
  const state = (status: Record<string, number>) => stateOf('deployment', rollout(status, { replicas: 3 })).words
  assert.is(state({ replicas: 3, updatedReplicas: 3, availableReplicas: 3 }), '')
  assert.is(state({ replicas: 4, updatedReplicas: 3, availableReplicas: 4 }), '3 of 3 are up to date, 4 available, 1 of an older version')
  assert.is(state({ replicas: 3, updatedReplicas: 3, availableReplicas: 2 }), '3 of 3 are up to date, 2 available')
  assert.is(state({}), '0 of 3 are up to date, 0 available')
  assert.is(stateOf('deployment', rollout({ replicas: 1, updatedReplicas: 1, availableReplicas: 1 })).words, '', 'one is the default')
})

test('a StatefulSet is judged like a Deployment', () => {
  const state = (status: Record<string, number>) => stateOf('statefulset', rollout(status, { replicas: 2 })).words
  assert.is(state({ replicas: 2, updatedReplicas: 2, availableReplicas: 2 }), '')
  assert.is(state({ replicas: 2, updatedReplicas: 1, availableReplicas: 2 }), '1 of 2 are up to date, 2 available, 1 of an older version')
})

test('a DaemonSet must be meant for every node, and run on each', () => {
  const daemons = (wanted: number, updated: number, available: number, nodes?: number) => stateOf('daemonset', rollout({
    desiredNumberScheduled: wanted, updatedNumberScheduled: updated, numberAvailable: available
  }), nodes).words
  assert.is(daemons(5, 5, 5, 5), '')
  assert.is(daemons(3, 3, 3, 5), 'is meant for 3 nodes of 5')
  assert.is(daemons(3, 3, 3), '')
  assert.is(daemons(5, 2, 4, 5), '2 of 5 are up to date, 4 available')
})

test('a change that the controller has not taken up yet says nothing of the pods', () => {
  for (const kind of ['deployment', 'daemonset', 'statefulset'] as const) {
    const status = { observedGeneration: 1, replicas: 1, updatedReplicas: 1, availableReplicas: 1 }
    assert.is(stateOf(kind, rollout(status)).words, 'the change is not taken up yet')
  }
})

test('a Job is complete once so many have ended well, and has failed where it says so', () => {
  const job = (status: Record<string, unknown>, completions?: number) =>
    stateOf('job', rollout(status, completions === undefined ? {} : { completions }))
  assert.equal(job({ succeeded: 1 }), { counts: '1 of 1 completed', words: '' })
  assert.is(job({ succeeded: 2 }, 3).words, '2 of 3 completed')
  const failed = (message?: string) => job({ failed: 4, conditions: [{ type: 'Failed', status: 'True', ...(message ? { message } : {}) }] }).words
  assert.is(failed('Job has reached the specified backoff limit'), 'has failed: Job has reached the specified backoff limit')
  assert.is(failed(), 'has failed: 0 of 1 completed')
})

const deployed = (status: Record<string, unknown>, ...pods: Pod[]) => {
  const asked: string[] = []
  const kubectl = fakeKubectl((command) => {
    asked.push(command)
    if (command.includes('get pods')) return JSON.stringify({ items: pods })
    if (command.includes(' get events ')) return 'Failed to pull image "web"'
    if (command.includes(' logs ')) return ''
    return JSON.stringify(rollout(status, { replicas: 2 }))
  })
  return { asked, kubectl }
}
const which = { kind: 'deployment', namespace: 'shop', name: 'web' } as const
const complete = { replicas: 2, updatedReplicas: 2, availableReplicas: 2 }
const on = (name: string, node: string): Pod => pod(name, { conditions: ready }, { node })

test('a rollout that is complete says on which nodes, and what else is known', async () => {
  const { kubectl, asked } = deployed(complete, on('web-1', 'n2'), on('web-2', 'n1'))
  assert.is(await rolledOut(kubectl, { ...which, step: 'runs web' }).check(), '= 2 of 2 are up to date, 2 available, on n1, n2')
  assert.equal(asked, ['-n shop get deployment web -o json', 'get pods -n shop -l $\'app=web,tier=front\' -o json'])
  assert.is(await rolledOut(kubectl, { ...which, step: 'runs web', evidence: async () => 'v2' }).check(),
    '= 2 of 2 are up to date, 2 available, on n1, n2: v2')
  assert.is(await rolloutInWords(kubectl, which), '')
})

test('a rollout that is not complete says why of each pod that is not ready, and asks for no evidence', async () => {
  const pulling = pod('web-2', { phase: 'Pending', containerStatuses: [{ name: 'web', ready: false, state: { waiting: { reason: 'ErrImagePull' } } }] }, { node: 'n2' })
  const done = pod('web-0', { phase: 'Succeeded' }, { node: 'n1' })
  const { kubectl } = deployed({ ...complete, availableReplicas: 1 }, done, on('web-1', 'n1'), pulling)
  const told = '2 of 2 are up to date, 1 available\nn2: ErrImagePull: Failed to pull image "web"'
  assert.is(await rolloutInWords(kubectl, which), told)
  assert.is(await rolledOut(kubectl, { ...which, step: 'runs web', evidence: () => assert.unreachable() as never }).check(), told)
})

test('replicas on fewer nodes than wanted are not complete', async () => {
  const { kubectl } = deployed(complete, on('web-1', 'n1'), on('web-2', 'n1'))
  assert.is(await rolloutInWords(kubectl, { ...which, nodes: 2 }), 'ready on 1 of 2 nodes')
  assert.is(await rolloutInWords(kubectl, { ...which, nodes: 1 }), '')
})

test('of many sick pods only some are asked about', async () => {
  const sick = Array.from({ length: 20 }, (_, index) => pod(`web-${index}`, { containerStatuses: [unready] }, { node: `n${index}` }))
  const { kubectl, asked } = deployed({ ...complete, availableReplicas: 0 }, ...sick)
  await rolloutInWords(kubectl, which)
  assert.is(asked.filter((command) => command.includes(' logs ')).length, 8)
})

test('by hand the same rollout is watched', () => {
  const { kubectl } = deployed({})
  assert.is(rolledOut(kubectl, { ...which, step: 'x', within: 90 }).look, 'kubectl -n shop rollout status deployment/web --timeout=90s')
  assert.is(rolledOut(kubectl, { ...which, step: 'x', nodes: 3 }).look, `kubectl -n shop rollout status deployment/web --timeout=180s
kubectl -n shop get pods -o wide | grep '^web-'     # ready on 3 nodes`)
  assert.is(rolledOut(kubectl, { ...which, kind: 'job', step: 'x' }).look,
    'kubectl -n shop wait --for=condition=complete job/web --timeout=180s')
})

test.run()
