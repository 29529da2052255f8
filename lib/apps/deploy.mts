import { parse } from 'yaml'
import { isAbort, messageOf } from '../base/errors.mts'
import { until } from '../base/wait.mts'
import { applyObjects, manifestStep } from '../cluster/objects.mts'
import { getPods, rolloutInWords } from '../cluster/pods.mts'
import type { Run } from '../run/run.mts'
import type { Kubectl } from '../reach/kubectl.mts'
import type { ClusterStep } from '../run/step.mts'

type Deployment = {
  namespace: string
  name: string
  manifest: string
  /** Seconds in which a pod of it must be ready. */
  within: number
  /** Seconds for which a pod that runs and is not ready may be preparing its database (default 0). */
  prepares?: number
  /** Its checksum is not known, as a secret is not. */
  isWaiting: boolean
}

/**
 * The step that a Deployment is as its manifest says, and every pod of it is ready. A version whose pods are not ready in
 * time is taken back: the one before it serves on, and the step fails with what the new pods said. As long as new pods take
 * the place of old ones it is waited for: twenty pods, one after the other, may take longer than one. An interruption leaves
 * the rollout to the cluster, and says so.
 */
export const deploys = (
  { kubectl, signal, note }: Pick<Run, 'kubectl' | 'signal' | 'note'>,
  { namespace, name, manifest, within, prepares = 0, isWaiting }: Deployment
): ClusterStep => {
  const which = { kind: 'deployment', namespace, name } as const
  const same = manifestStep(kubectl, `runs ${name} as configured`, manifest)
  const see = async (): Promise<Seen> => {
    const found = await kubectl`-n ${namespace} get deployment ${name} --ignore-not-found -o json`
    return found.trim() === '' ? {} : JSON.parse(found) as Seen
  }
  // With a secret that is not known here all else is compared: nothing says that the pods must be replaced.
  const comparable = async (): Promise<ClusterStep> => {
    if (!isWaiting) return same
    const path = `jsonpath={.spec.template.metadata.annotations.${annotation.replaceAll('.', '\\.')}}`
    const there = await kubectl`-n ${namespace} get deployment ${name} --ignore-not-found -o ${path}`
    return there === '' ? same : manifestStep(kubectl, same.name, manifest.replace(`${annotation}: unknown`, `${annotation}: ${there}`))
  }
  return {
    ...same,
    follows: isWaiting,
    check: async () => (await (await comparable()).check()) || (await rolloutInWords(kubectl, which)),
    look: `${same.look}
kubectl -n ${namespace} rollout status deployment/${name} --timeout=${within}s`,
    change: async () => {
      const before = await see()
      await applyObjects(kubectl, manifest)
      for (let old = oldPods(before) || (before.status?.replicas ?? 0); ;) {
        const waits = (look: () => Promise<string>, seconds: number): Promise<string> => until(look, { seconds, signal, every: 2 }).catch((error: unknown) => {
          if (isAbort(error)) note(leftAlone(namespace, name))
          throw error
        })
        let words = await waits(() => rolloutInWords(kubectl, which), within)
        if (words === '') return
        if (prepares > within && (await isPreparing(kubectl, namespace, name))) {
          note(`${name} runs, and is not ready: it may be preparing its database. It is given ${prepares} s.`)
          const still = await waits(async () => ((await isPreparing(kubectl, namespace, name)) ? rolloutInWords(kubectl, which) : ''), prepares - within)
          if (still !== '') throw new Error(`${still}\nIt is left as it is: it may still be preparing its database, and taken back it would begin anew.`)
          words = await rolloutInWords(kubectl, which)
          if (words === '') return
        }
        const now = await see()
        const left = oldPods(now)
        if (left === 0 || left >= old) {
          const served = (): Promise<string> => until(() => rolloutInWords(kubectl, which), { seconds: within, signal, every: 2 })
          throw new Error(`${words}\n${await takeBack(kubectl, { namespace, name, manifest }, isNew(before, now), served)}`)
        }
        old = left
      }
    },
    byHand: `kubectl apply --server-side --force-conflicts -f ${same.name.replaceAll(' ', '-')}.yaml
kubectl -n ${namespace} rollout status deployment/${name} --timeout=${within}s ||
  kubectl -n ${namespace} rollout undo deployment/${name}     # only a new version`,
    hint: `kubectl -n ${namespace} describe deployment ${name}; kubectl -n ${namespace} logs deployment/${name} --all-containers`
  }
}

// Its container has started, has not failed, and is not ready. What still waits for its image, or ends, prepares nothing.
const isPreparing = async (kubectl: Kubectl, namespace: string, name: string): Promise<boolean> =>
  (await getPods(kubectl, { namespace, label: `app=${name}` })).some(({ metadata, status: { containerStatuses: [container] = [] } }) =>
    metadata.deletionTimestamp === undefined && container?.started === true && !container.ready && container.restartCount === 0)

/** The annotation of a pod template that changes with the configuration and the secrets. */
const annotation = 'keybuzz.io/checksum'

const leftAlone = (namespace: string, name: string): string =>
  `The cluster goes on replacing the pods of ${name}, and nobody takes the version back if they fail. The next run does.
  How far it is:  kubectl -n ${namespace} rollout status deployment/${name}
  Back by hand:   kubectl -n ${namespace} rollout undo deployment/${name}`

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
const takeBack = async (
  kubectl: Kubectl,
  { namespace, name, manifest }: Pick<Deployment, 'namespace' | 'name' | 'manifest'>,
  isNewVersion: boolean,
  lackOf: () => Promise<string>
): Promise<string> => {
  if (!isNewVersion) return 'It is not taken back: this version was ready before, so the cause is elsewhere.'
  try {
    const { items } = JSON.parse(await kubectl`-n ${namespace} get replicasets -o json`) as { items: ReplicaSet[] }
    const former = formerRevision(items.filter(({ metadata: { ownerReferences = [] } }) =>
      ownerReferences.some((owner) => owner.kind === 'Deployment' && owner.name === name)))
    if (!former) return 'It is the first version of it: there is none to go back to.'
    const images = former.spec.template.spec.containers.map(({ image }) => image).join(', ')
    await applyObjects(kubectl, withTemplate(manifest, former))
    const lack = await lackOf()
    return lack === '' ? `Taken back: ${name} runs ${images} again.` : `Taken back to ${images}, whose pods are not ready either: ${lack}`
  } catch (error) {
    if (isAbort(error)) throw error
    return `It could not be taken back: ${messageOf(error)}. By hand: kubectl -n ${namespace} rollout undo deployment/${name}`
  }
}
