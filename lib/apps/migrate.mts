import { parse } from 'yaml'
import { isAbort, messageOf } from '../base/errors.mts'
import { until } from '../base/wait.mts'
import { applyObjects } from '../cluster/objects.mts'
import { getPods, rolloutInWords } from '../cluster/pods.mts'
import type { Kubectl } from '../reach/kubectl.mts'
import type { Run } from '../run/run.mts'
import type { ClusterStep } from '../run/step.mts'
import type { Rendered } from './render.mts'

type Job = { metadata: { name: string }; status?: { conditions?: { type: string; status: string }[] } }

const has = ({ status }: Job, type: string): boolean => status?.conditions?.some((one) => one.type === type && one.status === 'True') ?? false

const isAtWork = (job: Job): boolean => !has(job, 'Complete') && !has(job, 'Failed')

/**
 * The step that a migration has run for this image and configuration: a Job with a name that follows from them. It is made
 * before the pods of the new version. Where it fails the version that serves is left alone, and the step fails with the last
 * lines of the Job's log; the next run makes it again. It also fails where its pod cannot start within apps.rollout_timeout.
 * Pods that it must not meet are stopped, and given back where it fails: as many as there were, or as `workloads` say where a
 * killed run has stopped them before.
 */
export const hasMigrated = (
  { kubectl, signal, settings, note }: Pick<Run, 'kubectl' | 'signal' | 'settings' | 'note'>,
  namespace: string,
  { job, prefix, manifest, step, within, alone }: Rendered['migrations'][number],
  workloads: Rendered['workloads']
): ClusterStep => {
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
      if (has(found, 'Complete')) return `= the Job ${job}`
      return has(found, 'Failed') ? `the Job ${job} has failed` : `the Job ${job} is still at work`
    },
    look: `kubectl -n ${namespace} get job ${job}     # COMPLETIONS 1/1`,
    change: async () => {
      for (const { metadata: { name } } of others(await jobs()).filter(isAtWork)) {
        // Nothing of it has run, and it would try for as long as it may.
        if (cannotStart.test(await rolloutInWords(kubectl, { kind: 'job', namespace, name }))) await kubectl`-n ${namespace} delete job ${name}`
      }
      const busy = await until(async () => namesOf(others(await jobs()).filter(isAtWork)).join(', '), { seconds: within, signal, every: 2 })
      if (busy !== '') throw new Error(`a migration of another version is still at work: ${busy}`)
      const failed = namesOf((await jobs()).filter((one) => has(one, 'Failed')))
      if (failed.length > 0) await kubectl`-n ${namespace} delete job ${failed}`
      const replicas = await replicasOf(kubectl, namespace, alone, workloads)
      try {
        await stop(kubectl, namespace, [...replicas.keys()], signal)
        await applyObjects(kubectl, manifest)
        const begun = Date.now()
        let stuck = ''
        const words = await until(async () => {
          const found = own(await jobs())
          if (found && !isAtWork(found)) return ''
          const state = await rolloutInWords(kubectl, { kind: 'job', namespace, name: job })
          if (cannotStart.test(state) && Date.now() - begun > settings.apps.rollout_timeout * 1000) stuck = state
          return stuck === '' ? state || 'is about to complete' : ''
        }, { seconds: within + 30, signal, every: 2 }) // a Job fails at its activeDeadlineSeconds, which is `within`
        if (stuck !== '') {
          await kubectl`-n ${namespace} delete job ${job}` // it would try for ever
          throw new Error(`its pod does not start: ${stuck}`)
        }
        if (words !== '') throw new Error(`not completed within ${within} s: ${words}`)
        if (!has(own(await jobs())!, 'Complete')) throw new Error(await whyFailed(kubectl, namespace, job))
      } catch (error) {
        // After an interruption the Job is still at work, and must not meet them. The next run waits for it.
        if (isAbort(error)) {
          if (replicas.size > 0) note(leftStopped(namespace, [...replicas.keys()]))
          throw error
        }
        throw new Error([messageOf(error), await start(kubectl, namespace, replicas)].filter(Boolean).join('\n'))
      }
      const former = namesOf(others(await jobs()))
      if (former.length > 0) await kubectl`-n ${namespace} delete job ${former}`
    },
    byHand: [
      ...alone.map((name) => `kubectl -n ${namespace} scale deployment ${name} --replicas=0`),
      `cat > ${job}.yaml <<'END'\n${manifest.trimEnd()}\nEND`,
      `kubectl apply --server-side -f ${job}.yaml`,
      `kubectl -n ${namespace} wait --for=condition=complete job/${job} --timeout=${within}s`
    ].join('\n'),
    hint: `kubectl -n ${namespace} logs job/${job}`
  }
}

const leftStopped = (namespace: string, names: string[]): string =>
  `Stopped for their migration, and still stopped: ${names.join(', ')}. The next run goes on with the migration, and starts them again.
  How far it is:  kubectl -n ${namespace} get jobs,deployments`

// Such a pod waits for ever, and its Job never fails (kubelet: pkg/kubelet/images/types.go, pkg/kubelet/kuberuntime).
const cannotStart = /\b(not scheduled|waits for vault-agent|ErrImagePull|ImagePullBackOff|ErrImageNeverPull|InvalidImageName|CreateContainerConfigError|CreateContainerError)\b/

const namesOf = (jobs: Job[]): string[] => jobs.map(({ metadata: { name } }) => name)

// How many pods each Deployment has, of those that are there.
const replicasOf = async (kubectl: Kubectl, namespace: string, names: string[], workloads: Rendered['workloads']): Promise<Map<string, number>> => {
  const replicas = new Map<string, number>()
  for (const name of names) {
    const wanted = await kubectl`-n ${namespace} get deployment ${name} --ignore-not-found -o 'jsonpath={.spec.replicas}'`
    if (wanted.trim() === '') continue
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
