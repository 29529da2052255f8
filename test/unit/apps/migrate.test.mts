import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { hasMigrated, leavesNoneStopped } from '../../../lib/apps/migrate.mts'
import { defaultSettings } from '../../../lib/input/settings.mts'
import { KubectlError } from '../../../lib/reach/kubectl.mts'
import { fakeKubectl } from '../../support/fake-kubectl.mts'

type State = 'Complete' | 'Failed' | 'Running'

type More = {
  /** Pods of the Deployment `web`. */
  pods?: number
  /** The phase of a pod that stays. */
  stays?: string
  applyFails?: boolean
  deleteFails?: boolean
  startFails?: boolean
  interrupt?: AbortController
  /** The pod of a Job, each time that it is asked for. */
  pod?: () => object | undefined
  /** How many pods of a Job have failed. */
  failed?: number
  /** Its database has no tables, until a Job has made them. */
  isEmpty?: boolean
}

const stuckPod = {
  metadata: { name: 'db-x', namespace: 'keybuzz-x' }, spec: { nodeName: 'k3s-worker-01' },
  status: { phase: 'Pending', containerStatuses: [{ name: 'db', ready: false, state: { waiting: { reason: 'ImagePullBackOff', message: 'not found' } } }] }
}

// A namespace with Jobs, and a Deployment `web`. A Job that is applied ends as `ends` says.
const cluster = (jobs: Record<string, State>, ends: State, more: More = {}) => {
  const { stays, applyFails = false, deleteFails = false, startFails = false, interrupt = new AbortController(), pod, failed = 0, isEmpty = false } = more
  const did: string[] = []
  let { pods = 3 } = more
  const kubectl = fakeKubectl((command, { input = '' }) => {
    if (command.includes('get jobs')) {
      return JSON.stringify({ items: Object.entries(jobs).map(([name, state]) =>
        ({ metadata: { name }, status: { failed, conditions: [{ type: state, status: 'True' }] } })) })
    }
    if (command.includes('get deployment web')) return String(pods)
    if (command.includes('scale deployment')) {
      interrupt.signal.throwIfAborted()
      did.push(command.replace('-n keybuzz-x ', ''))
      pods = Number(command.split('=').at(-1))
      if (startFails && pods > 0) throw new KubectlError('forbidden', { exitCode: 1, stdout: '' })
      return ''
    }
    if (command.startsWith('get pods') && command.includes('app=db')) return JSON.stringify({ items: [pod?.()].filter(Boolean) })
    if (command.startsWith('get pods')) return JSON.stringify({ items: stays === undefined ? [] : [
      { metadata: { name: 'web-1' }, spec: { nodeName: 'k3s-worker-03' }, status: { phase: stays } }
    ] })
    if (command.includes('delete job')) {
      if (deleteFails) throw new KubectlError('forbidden', { exitCode: 1, stdout: '' })
      did.push(command.replace('-n keybuzz-x ', ''))
      for (const name of command.split(' delete job ')[1]!.split(' ')) delete jobs[name]
      return ''
    }
    if (command.startsWith('apply')) {
      did.push(`apply ${input}`)
      if (applyFails) throw new KubectlError('admission webhook denied the request', { exitCode: 1, stdout: '' })
      if (ends === 'Running' && !pod) interrupt.abort()
      jobs['db-2'] = ends
      return ''
    }
    if (/get job db-[13]/.test(command)) {
      return JSON.stringify({ metadata: { generation: 1 }, spec: { completions: 1, selector: { matchLabels: { app: 'db' } } }, status: {} })
    }
    if (command.includes('get job db-2')) {
      return JSON.stringify({
        metadata: { generation: 1 }, spec: { completions: 1, selector: { matchLabels: { app: 'db' } } },
        status: ends === 'Running' ? {} : ends === 'Complete' ? { succeeded: 1 } : { conditions: [{ type: 'Failed', status: 'True', message: 'backoff limit' }] }
      })
    }
    if (command.includes('logs')) return 'PG::Error: extension "vector" is not available\n'
    return ''
  })
  const migration = {
    job: 'db-2', prefix: 'db', manifest: 'the Job', part: { file: '', values: {} }, step: 'its database prepared', within: 30, alone: ['web']
  }
  const settings = defaultSettings()
  settings.apps.rollout_timeout = 1
  const said: string[] = []
  const run = { kubectl, settings, signal: interrupt.signal, note: (line: string) => void said.push(line) }
  return { did, said, step: hasMigrated(run, 'keybuzz-x', migration, [{ name: 'web', manifest: 'spec: {replicas: 2}' }], async () => isEmpty) }
}

test('a migration runs once for its version, without the pods that it must not meet, and the former Job goes', async () => {
  const { did, step } = cluster({ 'db-1': 'Complete', 'dbx-9': 'Complete' }, 'Complete')
  assert.is(await step.check(), 'not yet, for this version and configuration')
  await step.change!()
  assert.equal(did, ['scale deployment web --replicas=0', 'apply the Job', 'delete job db-1'])
  assert.is(await step.check(), '= the Job db-2')
})

test('a migration that fails gives the pods back, and tells the last lines of its log', async () => {
  const { did, step } = cluster({ 'db-1': 'Complete' }, 'Failed')
  const words = await step.change!().then(() => '', (error: Error) => error.message)
  assert.match(words, /has failed: backoff limit/)
  assert.match(words, /PG::Error: extension "vector" is not available$/)
  assert.equal(did, ['scale deployment web --replicas=0', 'apply the Job', 'scale deployment web --replicas=3'])
})

test('one that failed is made again by the next run', async () => {
  const { did, step } = cluster({ 'db-2': 'Failed' }, 'Complete')
  assert.is(await step.check(), 'the Job db-2 has failed')
  await step.change!()
  assert.is(did[0], 'delete job db-2')
  assert.is(await step.check(), '= the Job db-2')
})

test('one that has run is made again once its database is a new one; where it makes no tables itself that is the end of it', async () => {
  const { did, step } = cluster({ 'db-2': 'Complete' }, 'Complete', { isEmpty: true })
  assert.is(await step.check(), 'the Job db-2 has completed, but its database has no tables')
  await step.change!()
  assert.equal(did, ['delete job db-2', 'scale deployment web --replicas=0', 'apply the Job'])
  assert.is(await step.check(), '= the Job db-2')
})

test('one whose image cannot be pulled is given up after the time of a rollout, and the pods are given back', async () => {
  const { did, step } = cluster({}, 'Running', { pod: () => stuckPod })
  const words = await step.change!().then(() => '', (error: Error) => error.message)
  assert.match(words, /^its pod does not start: .*ImagePullBackOff: not found/s)
  assert.equal(did.slice(-2), ['delete job db-2', 'scale deployment web --replicas=3'])
})

test('one that is stuck only for a moment is not given up, however long it has run before', async () => {
  const jobs: Record<string, State> = {}
  const looks = [undefined, stuckPod, undefined, stuckPod]
  const { did, step } = cluster(jobs, 'Running', { pod: () => {
    if (looks.length === 1) jobs['db-2'] = 'Complete'
    return looks.shift()
  } })
  await step.change!()
  assert.equal(did, ['scale deployment web --replicas=0', 'apply the Job'])
})

test('one whose first pod has failed is left to itself while its second cannot start', async () => {
  const jobs: Record<string, State> = {}
  let looks = 0
  const { did, step } = cluster(jobs, 'Running', { failed: 1, pod: () => {
    if (++looks === 3) jobs['db-2'] = 'Complete'
    return stuckPod
  } })
  await step.change!()
  assert.equal(did, ['scale deployment web --replicas=0', 'apply the Job'])
})

const failure = async (change: (() => Promise<void>) | undefined): Promise<string> =>
  change!().then(() => 'no failure', (error: Error) => error.message)

test('pods that a killed run has stopped are given back as the settings say, where the Job fails again', async () => {
  const { did, step } = cluster({ 'db-2': 'Failed' }, 'Failed', { pods: 0 })
  assert.match(await failure(step.change), /has failed/)
  assert.is(did.at(-1), 'scale deployment web --replicas=2')
})

test('pods are given back where the Job cannot be made, and what cannot be given back is told', async () => {
  const { did, step } = cluster({}, 'Complete', { applyFails: true })
  assert.is(await failure(step.change), 'admission webhook denied the request')
  assert.is(did.at(-1), 'scale deployment web --replicas=3')
  const other = cluster({}, 'Complete', { applyFails: true, startFails: true })
  assert.match(await failure(other.step.change), /denied the request\nweb is stopped: forbidden\. By hand: kubectl -n keybuzz-x scale deployment web --replicas=3/)
})

test('an evicted pod is not waited for', async () => {
  const { did, step } = cluster({}, 'Complete', { stays: 'Failed' })
  await step.change!()
  assert.equal(did, ['scale deployment web --replicas=0', 'apply the Job'])
})

test('after an interruption the pods do not meet the Job, which goes on, and it is said that they are stopped', async () => {
  const { did, said, step } = cluster({}, 'Running', { interrupt: new AbortController() })
  assert.match(await failure(step.change), /aborted/)
  assert.equal(did, ['scale deployment web --replicas=0', 'apply the Job'])
  assert.match(said.join(), /^Stopped for their migration, and still stopped: web\. The next run /)
})

test('a Job of another version that is still at work is waited for before anything is stopped', async () => {
  const jobs: Record<string, State> = { 'db-1': 'Running' }
  const { did, step } = cluster(jobs, 'Complete')
  const changing = step.change!()
  setTimeout(() => { jobs['db-1'] = 'Complete' }, 500)
  await changing
  assert.equal(did, ['scale deployment web --replicas=0', 'apply the Job', 'delete job db-1'])
})

test('while a migration of another version is at work this version is not prepared, though its own has run once', async () => {
  const { step } = cluster({ 'db-2': 'Complete', 'db-3': 'Running' }, 'Complete')
  assert.is(await step.check(), 'a migration of another version is still at work: db-3')
})

test('a Job of another version whose pod does not start is not waited for longer than a rollout', async () => {
  const { did, step } = cluster({ 'db-1': 'Running' }, 'Complete', { pod: () => stuckPod })
  await step.change!()
  assert.equal(did, ['delete job db-1', 'scale deployment web --replicas=0', 'apply the Job'])
})

test('a Job of another version that is stuck only for a moment is waited for', async () => {
  const jobs: Record<string, State> = { 'db-1': 'Running' }
  const looks = [stuckPod, undefined, stuckPod]
  const { did, step } = cluster(jobs, 'Complete', { pod: () => {
    if (looks.length === 1) jobs['db-1'] = 'Complete'
    return looks.shift()
  } })
  await step.change!()
  assert.equal(did, ['scale deployment web --replicas=0', 'apply the Job', 'delete job db-1'])
})

test('pods are given back where the Job of the former version cannot be removed', async () => {
  const { did, step } = cluster({ 'db-1': 'Complete' }, 'Complete', { deleteFails: true })
  assert.is(await failure(step.change), 'forbidden')
  assert.is(did.at(-1), 'scale deployment web --replicas=3')
})

// Deployments with so many pods each, behind a migration that has stopped some of them, and a step that starts `web`.
const behind = (pods: Record<string, number>, change: (pods: Record<string, number>) => void, signal?: AbortSignal) => {
  const said: string[] = []
  const kubectl = fakeKubectl((command) => {
    signal?.throwIfAborted()
    const [, name, replicas] = /deployment (\w+)(?:.* --replicas=(\d+))?/.exec(command) ?? []
    if (replicas === undefined) return String(pods[name!] ?? '')
    pods[name!] = Number(replicas)
    return ''
  })
  const migration = { job: 'db-2', prefix: 'db', manifest: '', part: { file: '', values: {} }, step: '', within: 30, alone: ['web', 'worker', 'beat'] }
  const step = leavesNoneStopped({ kubectl, note: (line) => void said.push(line) }, 'keybuzz-x', {
    migrations: [migration],
    workloads: [{ name: 'web', manifest: 'spec: {replicas: 2}' }, { name: 'worker', manifest: 'spec: {replicas: 4}' }]
  }, 'web', { name: 'runs web as configured', check: async () => '', look: '', byHand: '', change: async () => change(pods) })
  return { pods, said, step }
}

test('where a workload fails behind a migration, those that are still stopped are given back', async () => {
  const { pods, said, step } = behind({ web: 0, worker: 0 }, (now) => {
    now['web'] = 2
    throw new Error('Taken back: web runs app:1.0 again.')
  })
  assert.is(await failure(step.change), 'Taken back: web runs app:1.0 again.')
  assert.equal([pods, said], [{ web: 2, worker: 4 }, []])
})

test('where its new version is refused it is given back too, and those that run keep their pods', async () => {
  const { pods, step } = behind({ web: 0, worker: 7 }, () => { throw new Error('denied the request') })
  await failure(step.change)
  assert.equal(pods, { web: 2, worker: 7 })
})

test('one that is ready leaves the others to their own steps', async () => {
  const { pods, step } = behind({ web: 0, worker: 0 }, (now) => { now['web'] = 2 })
  await step.change!()
  assert.equal(pods, { web: 2, worker: 0 })
})

test('after an interruption of a rollout those that are still stopped are named', async () => {
  const interrupt = new AbortController()
  const { pods, said, step } = behind({ web: 0, worker: 0, beat: 1 }, () => {
    interrupt.abort()
    interrupt.signal.throwIfAborted()
  }, interrupt.signal)
  assert.match(await failure(step.change), /aborted/)
  assert.equal(pods, { web: 0, worker: 0, beat: 1 })
  assert.match(said.join(), /^Stopped for their migration, and still stopped: worker\. The next run /)
})

test.run()
