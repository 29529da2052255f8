import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { hasMigrated } from '../../../lib/apps/migrate.mts'
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
  startFails?: boolean
  interrupt?: AbortController
  /** The pod of a Job. */
  pod?: object
}

// A namespace with Jobs, and a Deployment `web`. A Job that is applied ends as `ends` says.
const cluster = (jobs: Record<string, State>, ends: State, more: More = {}) => {
  const { stays, applyFails = false, startFails = false, interrupt = new AbortController(), pod } = more
  const did: string[] = []
  let { pods = 3 } = more
  const kubectl = fakeKubectl((command, { input = '' }) => {
    if (command.includes('get jobs')) {
      return JSON.stringify({ items: Object.entries(jobs).map(([name, state]) =>
        ({ metadata: { name }, status: { conditions: [{ type: state, status: 'True' }] } })) })
    }
    if (command.includes('get deployment web')) return String(pods)
    if (command.includes('scale deployment')) {
      interrupt.signal.throwIfAborted()
      did.push(command.replace('-n keybuzz-x ', ''))
      pods = Number(command.split('=').at(-1))
      if (startFails && pods > 0) throw new KubectlError('forbidden', { exitCode: 1, stdout: '' })
      return ''
    }
    if (command.startsWith('get pods') && command.includes('app=db')) return JSON.stringify({ items: pod ? [pod] : [] })
    if (command.startsWith('get pods')) return JSON.stringify({ items: stays === undefined ? [] : [
      { metadata: { name: 'web-1' }, spec: { nodeName: 'k3s-worker-03' }, status: { phase: stays } }
    ] })
    if (command.includes('delete job')) {
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
  return { did, said, step: hasMigrated(run, 'keybuzz-x', migration, [{ name: 'web', manifest: 'spec: {replicas: 2}' }]) }
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

test('one whose image cannot be pulled is given up after the time of a rollout, and the pods are given back', async () => {
  const { did, step } = cluster({}, 'Running', { pod: {
    metadata: { name: 'db-2-x', namespace: 'keybuzz-x' }, spec: { nodeName: 'k3s-worker-01' },
    status: { phase: 'Pending', containerStatuses: [{ name: 'db', ready: false, state: { waiting: { reason: 'ImagePullBackOff', message: 'not found' } } }] }
  } })
  const words = await step.change!().then(() => '', (error: Error) => error.message)
  assert.match(words, /^its pod does not start: .*ImagePullBackOff: not found/s)
  assert.equal(did.slice(-2), ['delete job db-2', 'scale deployment web --replicas=3'])
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

test('a Job of another version whose pod cannot start is not waited for', async () => {
  const pod = { metadata: { name: 'db-1-x', namespace: 'keybuzz-x' }, spec: { nodeName: 'k3s-worker-01' }, status: {
    phase: 'Pending', containerStatuses: [{ name: 'db', ready: false, state: { waiting: { reason: 'ImagePullBackOff' } } }]
  } }
  const { did, step } = cluster({ 'db-1': 'Running' }, 'Complete', { pod })
  await step.change!()
  assert.equal(did, ['delete job db-1', 'scale deployment web --replicas=0', 'apply the Job'])
})

test.run()
