import { getPods, statusInWords, type Pod } from '../cluster/pods.mts'
import type { Kubectl } from '../reach/kubectl.mts'
import type { ClusterStep } from '../run/step.mts'

// Seconds that a pod may take to start, and how many pods are told.
const STARTING = 300
const MOST = 20

/** The step that no pod waits or fails for minutes. A pod that has just been made, or has ended, is no fault. */
export const hasNoStuckPod = (kubectl: Kubectl): ClusterStep => ({
  name: 'has no pod that cannot run',
  check: async () => {
    const pods = await getPods(kubectl)
    const words = pods.filter(isStuck).map((pod) => `${pod.metadata.namespace}/${pod.metadata.name}${on(pod)} is ${wordsOf(pod)}`)
    const more = words.length > MOST ? [`and ${words.length - MOST} more`] : []
    return [`= ${pods.length} pods`, ...words.slice(0, MOST), ...more].join('\n')
  },
  look: `kubectl get pods -A | grep -vE ' (([0-9]+)/\\2 +Running|Completed) '`,
  hint: 'kubectl describe pod, and its events'
})

const isStuck = ({ metadata, status: { phase, conditions = [] } }: Pod): boolean => {
  const isOld = Date.now() - Date.parse(metadata.creationTimestamp) > STARTING * 1000
  const isUnready = conditions.some(({ type, status }) => type === 'Ready' && status === 'False')
  return isOld && (phase === 'Pending' || (phase === 'Running' && isUnready))
}

const on = ({ spec: { nodeName } }: Pod): string => (nodeName === undefined ? '' : ` on ${nodeName}`)

const wordsOf = (pod: Pod): string =>
  `${pod.status.phase === 'Running' ? 'not ready' : pod.status.phase}, ${statusInWords(pod)}`
