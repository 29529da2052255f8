import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { deploys, formerRevision } from '../../../lib/apps/deploy.mts'
import { KubectlError } from '../../../lib/reach/kubectl.mts'
import { eventually } from '../../support/eventually.mts'
import { fakeKubectl } from '../../support/fake-kubectl.mts'

const set = (revision: number, available: number, image = `app:${revision}`, owner = 'web') => ({
  metadata: { annotations: { 'deployment.kubernetes.io/revision': String(revision) }, ownerReferences: [{ kind: 'Deployment', name: owner }] },
  spec: { template: { metadata: { labels: { app: owner, 'pod-template-hash': `x${revision}` } }, spec: { containers: [{ image }] } } },
  status: { availableReplicas: available }
})

test('the former version is the newest older one that serves', () => {
  const [first, second, third, fourth] = [set(1, 0), set(2, 3), set(3, 0), set(4, 0)]
  assert.is(formerRevision([first, fourth, second, third]), second)
  assert.is(formerRevision([first, fourth, third]), third)
  assert.is(formerRevision([first]), undefined)
})

type State = {
  /** Its pods become ready after so many questions. */
  readyAfter: number
  /** There is an older version. */
  former?: boolean
  /** The apply makes a new version of it. */
  isNew?: boolean
  /** What Kubernetes says of the rollout. */
  reason?: string
  /** Old pods that are left, at one question after the other. */
  old?: number[]
  undoFails?: boolean
  /** Its pod runs and is not ready, for so many questions. */
  preparing?: number
  prepares?: number
  /** The former version is not ready either. */
  undoneIsSick?: boolean
  within?: number
  /** A secret is not known. */
  isWaiting?: boolean
}

// A Deployment of two pods.
const cluster = ({ readyAfter, former = true, isNew = true, reason = 'ReplicaSetUpdated', old = [], undoFails = false, undoneIsSick = false, preparing = 0, prepares = 0, within = 0, isWaiting = false }: State) => {
  const did: string[] = []
  const said: string[] = []
  const interrupt = new AbortController()
  let asked = 0
  let applied = false
  let undone = false
  const kubectl = fakeKubectl((command, { input = '' }) => {
    if (command.startsWith('diff')) {
      if (applied || !isNew || input === 'keybuzz.io/checksum: c0ffee') return ''
      throw new KubectlError('exit 1', { exitCode: 1, stdout: 'diff -u /tmp/LIVE-1/apps.v1.Deployment.keybuzz-n8n.web /tmp/MERGED-2/apps.v1.Deployment.keybuzz-n8n.web\n' })
    }
    if (command.startsWith('apply')) {
      did.push(applied ? `apply ${input}` : 'apply')
      undone = applied && !undoneIsSick
      if (applied && undoFails) throw new KubectlError('forbidden', { exitCode: 1, stdout: '' })
      applied = true
      return ''
    }
    if (command.includes('checksum}')) return former ? 'c0ffee' : ''
    if (command.includes('get deployment web')) {
      const looks = command.includes('--ignore-not-found')
      const ready = undone || (applied && !looks && asked++ >= readyAfter) ? 2 : 1
      const left = (looks ? old.shift() : undefined) ?? 0
      return JSON.stringify({
        metadata: { generation: 1, annotations: { 'deployment.kubernetes.io/revision': applied && isNew ? '2' : '1' } },
        spec: { replicas: 2, selector: { matchLabels: { app: 'web' } } },
        status: { observedGeneration: 1, updatedReplicas: 2, availableReplicas: ready, replicas: 2 + left, conditions: [{ type: 'Progressing', reason }] }
      })
    }
    if (command.includes('get pods') && preparing-- > 0) {
      return JSON.stringify({ items: [{ metadata: { name: 'web-1', namespace: 'keybuzz-n8n' }, spec: {}, status: {
        phase: 'Running', containerStatuses: [{ name: 'web', ready: false, started: true, restartCount: 0, state: { running: {} } }]
      } }] })
    }
    if (command.startsWith('get pods')) {
      return JSON.stringify({ items: [{
        metadata: { name: 'web-1', namespace: 'keybuzz-n8n' }, spec: { nodeName: 'k3s-worker-01' },
        status: { phase: 'Pending', containerStatuses: [{ name: 'web', ready: false, state: { waiting: { reason: 'ImagePullBackOff', message: 'not found' } } }] }
      }] })
    }
    if (command.includes('get replicasets')) return JSON.stringify({ items: [set(2, 0), set(1, 2, 'app:1.0'), set(7, 1, 'other', 'worker')].slice(0, former ? 3 : 1) })
    return ''
  })
  const step = deploys({ kubectl, signal: interrupt.signal, note: (line) => void said.push(line) },
    { namespace: 'keybuzz-n8n', name: 'web', prepares, manifest: isWaiting ? 'keybuzz.io/checksum: unknown' : 'kind: Deployment\nspec: { strategy: x, template: new }', within, isWaiting })
  return { did, said, interrupt, step }
}

const undone = 'apply {"kind":"Deployment","spec":{"strategy":"x","template":{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"image":"app:1.0"}]}}}}'

test('a version whose pods become ready is left', async () => {
  const { did, step } = cluster({ readyAfter: 1, within: 3 })
  assert.is(await step.check(), 'missing or different: Deployment keybuzz-n8n/web')
  await step.change!()
  assert.is(await step.check(), '')
  assert.equal(did, ['apply'])
})

const failure = async (change: (() => Promise<void>) | undefined): Promise<string> =>
  change!().then(() => 'no failure', (error: Error) => error.message)

test('a version that is not ready in time is taken back, with what its pods say', async () => {
  const { did, step } = cluster({ readyAfter: 1000 })
  assert.is(await failure(step.change), `2 of 2 are up to date, 1 available
k3s-worker-01: ImagePullBackOff: not found
Taken back: web runs app:1.0 again.`)
  assert.equal(did, ['apply', undone])
})

test('one that may be preparing its database is waited for, and left where it takes longer; one that ends is taken back', async () => {
  const ready = cluster({ readyAfter: 3, preparing: 100, prepares: 10 })
  await ready.step.change!()
  assert.equal([ready.did, ready.said], [['apply'], ['web runs, and is not ready: it may be preparing its database. It is given 10 s.']])
  const slow = cluster({ readyAfter: 1000, preparing: 1000, prepares: 1 })
  assert.match(await failure(slow.step.change), /It is left as it is: it may still be preparing its database/)
  assert.equal(slow.did, ['apply'])
  const crashed = cluster({ readyAfter: 1000, preparing: 3, prepares: 10 })
  assert.match(await failure(crashed.step.change), /Taken back: web runs app:1\.0 again/)
})

test('a former version that is not ready either is not said to run', async () => {
  assert.is((await failure(cluster({ readyAfter: 1000, undoneIsSick: true }).step.change)).split('\n').slice(2).join('\n'),
    `Taken back to app:1.0, whose pods are not ready either: 2 of 2 are up to date, 1 available
k3s-worker-01: ImagePullBackOff: not found`)
})

test('a first version stays, because there is none to go back to', async () => {
  const { did, step } = cluster({ readyAfter: 1000, former: false })
  assert.match(await failure(step.change), /It is the first version of it: there is none to go back to/)
  assert.equal(did, ['apply'])
})

test('a version that was ready before is never taken back: its backend may be down, or a node', async () => {
  const { did, step } = cluster({ readyAfter: 1000, isNew: false, reason: 'NewReplicaSetAvailable' })
  assert.match(await step.check(), /1 available/)
  assert.match(await failure(step.change), /ImagePullBackOff: not found\nIt is not taken back: this version was ready before/)
  assert.equal(did, ['apply'])
})

test('a rollout that a killed run has begun is taken back too', async () => {
  const { did, step } = cluster({ readyAfter: 1000, isNew: false })
  assert.match(await failure(step.change), /Taken back/)
  assert.equal(did, ['apply', undone])
})

test('a rollout goes on as long as new pods take the place of old ones', async () => {
  const { did, step } = cluster({ readyAfter: 2, old: [3, 2, 1] })
  await step.change!()
  assert.equal(did, ['apply'])
  assert.match(await failure(cluster({ readyAfter: 1000, old: [3, 2, 2] }).step.change), /Taken back/)
})

test('where it cannot be taken back what the pods say is told all the same', async () => {
  const words = await failure(cluster({ readyAfter: 1000, undoFails: true }).step.change)
  assert.match(words, /ImagePullBackOff: not found\nIt could not be taken back: forbidden\. By hand: kubectl -n keybuzz-n8n rollout undo/)
})

test('while a secret is not known, all but the checksum is compared', async () => {
  const { step } = cluster({ readyAfter: 0, isWaiting: true })
  assert.is(step.follows, true)
  assert.match(await step.check(), /^2 of 2 are up to date, 1 available/)
  assert.is(await cluster({ readyAfter: 0, isWaiting: true, former: false }).step.check(), 'missing or different: Deployment keybuzz-n8n/web')
})

test('an interruption leaves the rollout to the cluster, and says so', async () => {
  const { did, said, interrupt, step } = cluster({ readyAfter: 1000, within: 30 })
  const changing = failure(step.change)
  await eventually('it is applied', () => did.length > 0)
  interrupt.abort()
  assert.match(await changing, /aborted/)
  assert.equal(did, ['apply'])
  assert.is(said.length, 1)
  assert.match(said[0]!, /^The cluster goes on replacing the pods of web, .*\n.*kubectl -n keybuzz-n8n rollout status deployment\/web\n.*rollout undo deployment\/web$/)
})

test.run()
