import { parse } from 'yaml'
import { isAbort, messageOf } from '../base/errors.mts'
import { until } from '../base/wait.mts'
import { applyObjects, manifestStep } from '../cluster/objects.mts'
import { rolloutInWords } from '../cluster/pods.mts'
import type { Run } from '../run/run.mts'
import type { Kubectl } from '../reach/kubectl.mts'
import type { ClusterStep } from '../run/step.mts'

type Deployment = {
  namespace: string
  name: string
  manifest: string
  /** Seconds in which a pod of it must be ready. */
  within: number
}

/**
 * The step that a Deployment is as its manifest says, and every pod of it is ready. A version whose pods are not ready in
 * time is taken back: the one before it serves on, and the step fails with what the new pods said. As long as new pods take
 * the place of old ones it is waited for: twenty pods, one after the other, may take longer than one.
 */
export const deploys = ({ kubectl, signal }: Pick<Run, 'kubectl' | 'signal'>, { namespace, name, manifest, within }: Deployment): ClusterStep => {
  const which = { kind: 'deployment', namespace, name } as const
  const same = manifestStep(kubectl, `runs ${name} as configured`, manifest)
  const see = async (): Promise<Seen> => {
    const found = await kubectl`-n ${namespace} get deployment ${name} --ignore-not-found -o json`
    return found.trim() === '' ? {} : JSON.parse(found) as Seen
  }
  return {
    ...same,
    check: async () => (await same.check()) || (await rolloutInWords(kubectl, which)),
    look: `${same.look}
kubectl -n ${namespace} rollout status deployment/${name} --timeout=${within}s`,
    change: async () => {
      const before = await see()
      await applyObjects(kubectl, manifest)
      for (let old = oldPods(before) || (before.status?.replicas ?? 0); ;) {
        const words = await until(() => rolloutInWords(kubectl, which), { seconds: within, signal, every: 2 })
        if (words === '') return
        const now = await see()
        const left = oldPods(now)
        if (left === 0 || left >= old) throw new Error(`${words}\n${await takeBack(kubectl, { namespace, name, manifest }, isNew(before, now))}`)
        old = left
      }
    },
    byHand: `kubectl apply --server-side --force-conflicts -f ${same.name.replaceAll(' ', '-')}.yaml
kubectl -n ${namespace} rollout status deployment/${name} --timeout=${within}s ||
  kubectl -n ${namespace} rollout undo deployment/${name}     # only a new version`,
    hint: `kubectl -n ${namespace} describe deployment ${name}; kubectl -n ${namespace} logs deployment/${name} --all-containers`
  }
}

type Revised = { metadata?: { annotations?: Record<string, string> } }

type Seen = Revised & {
  status?: { replicas?: number; updatedReplicas?: number; conditions?: { type: string; reason?: string }[] }
}

const revisionOf = ({ metadata }: Revised): number => Number(metadata?.annotations?.['deployment.kubernetes.io/revision'] ?? 0)

const oldPods = ({ status: { replicas = 0, updatedReplicas = 0 } = {} }: Seen): number => Math.max(0, replicas - updatedReplicas)

// The reason stays once a rollout is complete, also when its pods fail later (kubernetes: pkg/controller/deployment/progress.go).
const isNew = (before: Seen, now: Seen): boolean =>
  revisionOf(before) !== revisionOf(now)
  || now.status?.conditions?.find(({ type }) => type === 'Progressing')?.reason !== 'NewReplicaSetAvailable'

type ReplicaSet = {
  metadata: { annotations?: Record<string, string>; ownerReferences?: { kind: string; name: string }[] }
  spec: { template: { metadata: { labels?: Record<string, string> }; spec: { containers: { image: string }[] } } }
  status: { availableReplicas?: number }
}

/** The revision to go back to: the newest older one that still serves, else the newest older one. Nothing for a first version. */
export const formerRevision = (sets: ReplicaSet[]): ReplicaSet | undefined => {
  const [, ...older] = sets.toSorted((a, b) => revisionOf(b) - revisionOf(a))
  return older.find(({ status }) => (status.availableReplicas ?? 0) > 0) ?? older[0]
}

// A Deployment's manifest with the pods of a former version. It is applied as the manifest was: what `rollout undo` writes has
// another owner, and a variable or volume that the next version lacks would stay in it for ever.
const withTemplate = (manifest: string, { spec: { template } }: ReplicaSet): string => {
  const { 'pod-template-hash': _, ...labels } = template.metadata.labels ?? {}
  const deployment = parse(manifest) as { spec: object }
  return JSON.stringify({ ...deployment, spec: { ...deployment.spec, template: { ...template, metadata: { ...template.metadata, labels } } } })
}

// Returns in words what was done, and never fails: what the pods said must be told.
const takeBack = async (kubectl: Kubectl, { namespace, name, manifest }: Omit<Deployment, 'within'>, isNewVersion: boolean): Promise<string> => {
  if (!isNewVersion) return 'It is not taken back: this version was ready before, so the cause is elsewhere.'
  try {
    const { items } = JSON.parse(await kubectl`-n ${namespace} get replicasets -o json`) as { items: ReplicaSet[] }
    const former = formerRevision(items.filter(({ metadata: { ownerReferences = [] } }) =>
      ownerReferences.some((owner) => owner.kind === 'Deployment' && owner.name === name)))
    if (!former) return 'It is the first version of it: there is none to go back to.'
    const images = former.spec.template.spec.containers.map(({ image }) => image).join(', ')
    await applyObjects(kubectl, withTemplate(manifest, former))
    return `Taken back: ${name} runs ${images} again.`
  } catch (error) {
    if (isAbort(error)) throw error
    return `It could not be taken back: ${messageOf(error)}. By hand: kubectl -n ${namespace} rollout undo deployment/${name}`
  }
}
