import { isAbort } from '../base/errors.mts'
import { plural } from '../base/words.mts'
import type { Command, Kubectl } from '../reach/kubectl.mts'
import type { ClusterStep } from '../run/step.mts'

type Ended = { reason?: string; message?: string; exitCode?: number }

/** What the scripts read of a Pod. */
export type Pod = {
  metadata: { name: string; namespace: string; uid: string; creationTimestamp: string; deletionTimestamp?: string }
  spec: { nodeName?: string; containers?: { ports?: { hostPort?: number }[] }[] }
  status: {
    phase: string
    reason?: string
    message?: string
    podIP?: string
    conditions?: { type: string; status: string; message?: string }[]
    containerStatuses?: ContainerStatus[]
    initContainerStatuses?: ContainerStatus[]
  }
}

type ContainerStatus = {
  name: string
  ready: boolean
  /** False until its startup probe has succeeded. */
  started?: boolean
  restartCount?: number
  state: { waiting?: { reason?: string; message?: string }; running?: object; terminated?: Ended }
  lastState?: { terminated?: Ended }
}

/** The pods of a namespace, or of all, that have a label (`app=nginx-ingress`) and match a field selector. */
export const getPods = async (
  kubectl: Command,
  { namespace, label, field }: { namespace?: string; label?: string; field?: string } = {}
): Promise<Pod[]> => {
  const which = [
    ...(namespace === undefined ? ['-A'] : ['-n', namespace]),
    ...(label === undefined ? [] : ['-l', label]),
    ...(field === undefined ? [] : ['--field-selector', field])
  ]
  return (JSON.parse(await kubectl`get pods ${which} -o json`) as { items: Pod[] }).items
}

/** True where the pod is Ready and is not being deleted. */
export const isReady = ({ metadata, status }: Pod): boolean =>
  metadata.deletionTimestamp === undefined
  && (status.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True') ?? false)

const lastLine = (text: string): string => text.trim().split('\n').at(-1) ?? ''

const isHeldUp = ({ state: { running }, started }: ContainerStatus): boolean => running !== undefined && started === false

// The container that keeps the pod from being ready: a sidecar that the others wait for, one that waits or has failed, else one
// that is not ready yet.
const sickOf = ({ initContainerStatuses: init = [], containerStatuses: containers = [] }: Pod['status']): ContainerStatus | undefined =>
  init.find(isHeldUp)
    ?? [...init, ...containers].find(({ state: { waiting, terminated } }) => waiting ?? terminated?.exitCode)
    ?? containers.find(({ ready }) => !ready)

/** Why a pod is not ready, as its status says: what it waits for, how its container ended, why no node takes it. */
export const statusInWords = ({ metadata, status }: Pod): string => {
  if (metadata.deletionTimestamp !== undefined) return 'is leaving'
  const sick = sickOf(status)
  const { state, lastState }: Partial<ContainerStatus> = sick ?? {}
  const last = lastState?.terminated ?? state?.terminated
  const scheduling = status.conditions?.find(({ type, status: is }) => type === 'PodScheduled' && is === 'False')
  const waits = sick && isHeldUp(sick) ? `waits for ${sick.name}` : undefined
  const reason = waits ?? state?.waiting?.reason ?? state?.terminated?.reason ?? status.reason ?? (scheduling ? 'not scheduled' : status.phase)
  const ended = last && `ended with exit code ${last.exitCode}${last.message ? `: ${lastLine(last.message)}` : ''}`
  const more = ended || state?.waiting?.message || status.message || scheduling?.message
    || status.conditions?.find(({ status: is, message }) => is === 'False' && message)?.message
  return [reason, more].filter(Boolean).join(': ')
}

// What kubectl cannot tell is left out.
const nothing = (error: unknown): string => {
  if (isAbort(error)) throw error
  return ''
}

/**
 * Why a pod is not ready, with what its status does not say: the last warning among its events, and the last error in
 * its log.
 */
export const whyNotReady = async (kubectl: Kubectl, pod: Pod): Promise<string> => {
  const { metadata: { name, namespace }, spec: { nodeName = 'no node' }, status } = pod
  const words = statusInWords(pod)
  if (words === 'is leaving') return `${nodeName}: ${name} is leaving`
  const messages = '{range .items[*]}{.message}{"\\n"}{end}'
  const event = await kubectl`-n ${namespace} get events --field-selector ${`involvedObject.name=${name},type=Warning`}
    --sort-by=.lastTimestamp -o ${`jsonpath=${messages}`}`.catch(nothing)
  const sick = sickOf(status)
  const crashed = sick?.lastState?.terminated ? ['--previous'] : []
  const log = sick ? await kubectl`-n ${namespace} logs ${name} -c ${sick.name} --tail=50 ${crashed}`.catch(nothing) : ''
  const errors = log.split('\n').filter((line) => /\[emerg\]|^[EF]\d{4}|level=(error|fatal)|\b(error|fatal|panic)\b/i.test(line))
  return [`${nodeName}: ${words}`, lastLine(event), errors.at(-1) ?? lastLine(log)].filter(Boolean).join(': ')
}

type Kind = 'deployment' | 'daemonset' | 'statefulset' | 'job'

type Rollout = {
  metadata: { generation: number }
  spec: { replicas?: number; completions?: number; selector: { matchLabels: Record<string, string> } }
  status?: Record<string, number> & { conditions?: { type: string; status: string; message?: string }[] }
}

export type Which = {
  kind: Kind
  namespace: string
  name: string
  /** How many nodes must have a ready pod. For a DaemonSet: how many it must be scheduled to. */
  nodes?: number
}

type Wanted = Which & {
  /** The step's name. */
  step: string
  /** Seconds that the rollout may take (default 180). */
  within?: number
  /** More evidence, once the rollout is complete. */
  evidence?: () => Promise<string>
}

const look = async (kubectl: Kubectl, { kind, namespace, name, nodes }: Which): Promise<{ words: string; evidence: string }> => {
  const rollout = JSON.parse(await kubectl`-n ${namespace} get ${kind} ${name} -o json`) as Rollout
  const label = Object.entries(rollout.spec.selector.matchLabels).map(([key, value]) => `${key}=${value}`).join(',')
  const pods = await getPods(kubectl, { namespace, label })
  const { counts, words } = stateOf(kind, rollout, nodes)
  const on = [...new Set(pods.filter(isReady).map(({ spec }) => spec.nodeName ?? ''))].toSorted()
  const spread = kind === 'daemonset' || nodes === undefined || on.length >= nodes ? '' : `ready on ${on.length} of ${nodes} nodes`
  const evidence = on.length > 0 ? `${counts}, on ${on.join(', ')}` : counts
  if (words === '' && spread === '') return { words: '', evidence }
  const sick = pods.filter((pod) => !isReady(pod) && pod.status.phase !== 'Succeeded')
  const why = await Promise.all(sick.slice(0, 8).map((pod) => whyNotReady(kubectl, pod)))
  return { words: [words, spread, ...why].filter(Boolean).join('\n'), evidence }
}

/** In words how far a rollout is, and why each pod is not ready. '' where it is complete. */
export const rolloutInWords = async (kubectl: Kubectl, which: Which): Promise<string> => (await look(kubectl, which)).words

/**
 * The step that a Deployment, DaemonSet or StatefulSet runs its current version: every pod is ready, no old pod is left.
 * Of a Job: that it has completed. Where this does not hold it says why each pod is not ready.
 */
export const rolledOut = (kubectl: Kubectl, { step, within = 180, evidence, ...which }: Wanted): ClusterStep => {
  const { kind, namespace, name } = which
  return {
    name: step,
    check: async () => {
      const seen = await look(kubectl, which)
      if (seen.words !== '') return seen.words
      return `= ${seen.evidence}${evidence ? `: ${await evidence()}` : ''}`
    },
    look: kind === 'job'
      ? `kubectl -n ${namespace} wait --for=condition=complete job/${name} --timeout=${within}s`
      : `kubectl -n ${namespace} rollout status ${kind}/${name} --timeout=${within}s${which.nodes === undefined ? '' : `
kubectl -n ${namespace} get pods -o wide | grep '^${name}-'     # ready on ${plural(which.nodes, 'node')}`}`,
    within,
    hint: `kubectl -n ${namespace} describe ${kind} ${name}; kubectl -n ${namespace} logs ${kind}/${name}`
  }
}

/** How far a rollout is: its counts as evidence, and in words what is missing. '' where it is complete. */
export const stateOf = (kind: Kind, { metadata, spec, status = {} }: Rollout, nodes?: number): { counts: string; words: string } => {
  const count = (field: string): number => (status[field] as number | undefined) ?? 0
  if (kind === 'job') {
    const wanted = spec.completions ?? 1
    const counts = `${count('succeeded')} of ${wanted} completed`
    const failed = status.conditions?.find(({ type, status: is }) => type === 'Failed' && is === 'True')
    if (failed) return { counts, words: `has failed: ${failed.message ?? counts}` }
    return { counts, words: count('succeeded') >= wanted ? '' : counts }
  }
  if (count('observedGeneration') < metadata.generation) return { counts: '', words: 'the change is not taken up yet' }
  const daemonset = kind === 'daemonset'
  const wanted = daemonset ? count('desiredNumberScheduled') : (spec.replicas ?? 1)
  if (daemonset && nodes !== undefined && wanted !== nodes) return { counts: '', words: `is meant for ${wanted} nodes of ${nodes}` }
  const updated = count(daemonset ? 'updatedNumberScheduled' : 'updatedReplicas')
  const available = count(daemonset ? 'numberAvailable' : 'availableReplicas')
  const old = daemonset ? 0 : Math.max(0, count('replicas') - updated)
  const counts = `${updated} of ${wanted} are up to date, ${available} available`
  const complete = updated >= wanted && available >= wanted && old === 0
  return { counts, words: complete ? '' : old > 0 ? `${counts}, ${old} of an older version` : counts }
}
