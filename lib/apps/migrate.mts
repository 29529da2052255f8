import { parse } from 'yaml'
import { isAbort, messageOf } from '../base/errors.mts'
import { until } from '../base/wait.mts'
import { applyObjects } from '../cluster/objects.mts'
import { getPods, rolloutInWords } from '../cluster/pods.mts'
import type { Kubectl } from '../reach/kubectl.mts'
import type { Run } from '../run/run.mts'
import type { ClusterStep } from '../run/step.mts'
import type { Rendered } from './render.mts'

type Job = { metadata: { name: string }; status?: { failed?: number; conditions?: { type: string; status: string }[] } }

const has = ({ status }: Job, type: string): boolean => status?.conditions?.some((one) => one.type === type && one.status === 'True') ?? false

const isAtWork = (job: Job): boolean => !has(job, 'Complete') && !has(job, 'Failed')

/**
 * The step that a migration has run for this image and configuration: a Job with a name that follows from them. It is made
 * before the pods of the new version. Where it fails the version that serves is left alone, and the step fails with the last
 * lines of the Job's log; the next run makes it again. It also fails where its pod cannot start for apps.rollout_timeout.
 * Pods that it must not meet are stopped, and given back where it fails: as many as there were, or as `workloads` say where a
 * killed run has stopped them before. One that has run counts no more once `isEmpty` says that its database has no tables.
 */
export const hasMigrated = (
  run: Pick<Run, 'kubectl' | 'signal' | 'settings' | 'note'>,
  namespace: string,
  { job, prefix, manifest, step, within, alone }: Rendered['migrations'][number],
  workloads: Rendered['workloads'],
  isEmpty: () => Promise<boolean>
): ClusterStep => {
  const { kubectl, signal, settings } = run
  let isMade = false
  const jobs = async (): Promise<Job[]> => {
    const { items } = JSON.parse(await kubectl`-n ${namespace} get jobs -o json`) as { items: Job[] }
    return items.filter(({ metadata: { name } }) => name.startsWith(`${prefix}-`))
  }
  const own = (found: Job[]): Job | undefined => found.find(({ metadata: { name } }) => name === job)
  const others = (found: Job[]): Job[] => found.filter(({ metadata: { name } }) => name !== job)
  return {
    name: `has ${step}`,
    check: async () => {
      const all = await jobs()
      const busy = namesOf(others(all).filter(isAtWork)).join(', ')
      if (busy !== '') return `a migration of another version is still at work: ${busy}`
      const found = own(all)
      if (!found) return 'not yet, for this version and configuration'
      if (has(found, 'Complete')) return !isMade && (await isEmpty()) ? `the Job ${job} has completed, but its database has no tables` : `= the Job ${job}`
      return has(found, 'Failed') ? `the Job ${job} has failed` : `the Job ${job} is still at work`
    },
    look: `kubectl -n ${namespace} get job ${job}     # COMPLETIONS 1/1`,
    change: async () => {
      const look = lookAtStart(kubectl, namespace, settings.apps.rollout_timeout)
      const busy = await until(async () => {
        for (const other of others(await jobs()).filter(isAtWork)) {
          if ((await look(other)).isStuck) await kubectl`-n ${namespace} delete job ${other.metadata.name}` // nothing of it has run
        }
        return namesOf(others(await jobs()).filter(isAtWork)).join(', ')
      }, { seconds: within, signal, every: 2 })
      if (busy !== '') throw new Error(`a migration of another version is still at work: ${busy}`)
      const empty = await isEmpty()
      const spent = namesOf((await jobs()).filter((one) => has(one, 'Failed') || (empty && has(one, 'Complete'))))
      if (spent.length > 0) await kubectl`-n ${namespace} delete job ${spent}`
      const replicas = await replicasOf(kubectl, namespace, alone, workloads)
      // After an interruption the Job is still at work, and must not meet them. The next run waits for it.
      await orGivenBack(run, namespace, replicas, async () => {
        await stop(kubectl, namespace, [...replicas.keys()], signal)
        await applyObjects(kubectl, manifest)
        let stuck = ''
        const words = await until(async () => {
          const found = own(await jobs())
          if (!found) return `the Job ${job} is gone`
          if (!isAtWork(found)) return ''
          const state = await look(found)
          if (state.isStuck) stuck = state.words
          return stuck === '' ? state.words || 'is about to complete' : ''
        }, { seconds: within + 30, signal, every: 2 }) // a Job fails at its activeDeadlineSeconds, which is `within`
        if (stuck !== '') {
          await kubectl`-n ${namespace} delete job ${job}` // it would try for ever
          throw new Error(`its pod does not start: ${stuck}`)
        }
        if (words !== '') throw new Error(`not completed within ${within} s: ${words}`)
        if (!has(own(await jobs())!, 'Complete')) throw new Error(await whyFailed(kubectl, namespace, job))
        isMade = true // an application may make its tables at its first start
        const former = namesOf(others(await jobs()))
        if (former.length > 0) await kubectl`-n ${namespace} delete job ${former}`
      })
    },
    byHand: [
      `kubectl -n ${namespace} delete job ${job} --ignore-not-found`,
      ...alone.map((name) => `kubectl -n ${namespace} scale deployment ${name} --replicas=0`),
      `cat > ${job}.yaml <<'END'\n${manifest.trimEnd()}\nEND`,
      `kubectl apply --server-side -f ${job}.yaml`,
      `kubectl -n ${namespace} wait --for=condition=complete job/${job} --timeout=${within}s`
    ].join('\n'),
    hint: `kubectl -n ${namespace} logs job/${job}`
  }
}

/**
 * The step of a workload behind migrations. Where it fails, the steps that would start the other Deployments which a migration
 * has stopped are not reached: these get back their pods, in the version that they had.
 */
export const leavesNoneStopped = (
  run: Pick<Run, 'kubectl' | 'note'>,
  namespace: string,
  { migrations, workloads }: Pick<Rendered, 'migrations' | 'workloads'>,
  name: string,
  step: ClusterStep
): ClusterStep => {
  const { change } = step
  const alone = migrations.flatMap((migration) => migration.alone)
  if (!change || alone.length === 0) return step
  return {
    ...step,
    change: async () => {
      const stopped = await replicasOf(run.kubectl, namespace, alone, workloads, (wanted) => wanted === 0)
      await orGivenBack(run, namespace, stopped, change, name)
    }
  }
}

// Where the work fails, Deployments get back their pods. After an interruption those that the work does not start are named.
const orGivenBack = async (
  { kubectl, note }: Pick<Run, 'kubectl' | 'note'>,
  namespace: string,
  replicas: Map<string, number>,
  work: () => Promise<void>,
  started?: string
): Promise<void> => {
  try {
    await work()
  } catch (error) {
    if (isAbort(error)) {
      const left = [...replicas.keys()].filter((name) => name !== started)
      if (left.length > 0) note(leftStopped(namespace, left))
      throw error
    }
    throw new Error([messageOf(error), await start(kubectl, namespace, replicas)].filter(Boolean).join('\n'))
  }
}

const leftStopped = (namespace: string, names: string[]): string =>
  `Stopped for their migration, and still stopped: ${names.join(', ')}. The next run goes on from there, and starts them again.
  How far it is:  kubectl -n ${namespace} get jobs,deployments`

// Such a pod waits for ever, and its Job never fails (kubelet: pkg/kubelet/images/types.go, pkg/kubelet/kuberuntime).
const cannotStart = /\b(not scheduled|waits for vault-agent|ErrImagePull|ImagePullBackOff|ErrImageNeverPull|InvalidImageName|CreateContainerConfigError|CreateContainerError)\b/

/**
 * Looks at Jobs again and again: in words how far one is, and whether its pod has been unable to start for so many seconds on end.
 * One whose pod has started and failed tries anew by itself, and ends by itself.
 */
const lookAtStart = (kubectl: Kubectl, namespace: string, seconds: number) => {
  const since = new Map<string, number>()
  return async ({ metadata: { name }, status }: Job): Promise<{ words: string; isStuck: boolean }> => {
    const words = await rolloutInWords(kubectl, { kind: 'job', namespace, name })
    if (status?.failed || !cannotStart.test(words)) since.delete(name)
    else if (!since.has(name)) since.set(name, Date.now())
    return { words, isStuck: Date.now() - (since.get(name) ?? Infinity) > seconds * 1000 }
  }
}

const namesOf = (jobs: Job[]): string[] => jobs.map(({ metadata: { name } }) => name)

// How many pods each Deployment is to have, of those that are there; of one that is stopped what `workloads` say.
const replicasOf = async (
  kubectl: Kubectl,
  namespace: string,
  names: string[],
  workloads: Rendered['workloads'],
  isMeant: (wanted: number) => boolean = () => true
): Promise<Map<string, number>> => {
  const replicas = new Map<string, number>()
  for (const name of names) {
    const wanted = await kubectl`-n ${namespace} get deployment ${name} --ignore-not-found -o 'jsonpath={.spec.replicas}'`
    if (wanted.trim() === '' || !isMeant(Number(wanted))) continue
    const { spec } = parse(workloads.find((one) => one.name === name)?.manifest ?? 'spec: {}') as { spec: { replicas?: number } }
    replicas.set(name, Number(wanted) || (spec.replicas ?? 1))
  }
  return replicas
}

const stop = async (kubectl: Kubectl, namespace: string, names: string[], signal: AbortSignal): Promise<void> => {
  for (const name of names) await kubectl`-n ${namespace} scale deployment ${name} --replicas=0`
  const left = await until(async () => {
    const pods = (await Promise.all(names.map((name) => getPods(kubectl, { namespace, label: `app=${name}` })))).flat()
    // An evicted pod stays as Failed for days, and runs nothing.
    return pods.filter(({ status: { phase } }) => !['Failed', 'Succeeded'].includes(phase))
      .map(({ metadata: { name }, spec: { nodeName } }) => `${name} on ${nodeName ?? 'no node'}`).join(', ')
  }, { seconds: 180, signal, every: 2 })
  if (left !== '') throw new Error(`these pods do not leave: ${left}. If their node is dead, bring it back, or delete it from the cluster`)
}

// In words what could not be given back.
const start = async (kubectl: Kubectl, namespace: string, replicas: Map<string, number>): Promise<string> => {
  const words: string[] = []
  for (const [name, count] of replicas) {
    await kubectl`-n ${namespace} scale deployment ${name} --replicas=${count}`.catch((error: unknown) => {
      words.push(`${name} is stopped: ${messageOf(error)}. By hand: kubectl -n ${namespace} scale deployment ${name} --replicas=${count}`)
    })
  }
  return words.join('\n')
}

const whyFailed = async (kubectl: Kubectl, namespace: string, job: string): Promise<string> => {
  const words = await rolloutInWords(kubectl, { kind: 'job', namespace, name: job })
  const log = await kubectl`-n ${namespace} logs ${`job/${job}`} --all-containers --tail=5`.catch(() => '')
  return [words, ...log.trim().split('\n')].filter(Boolean).join('\n')
}
