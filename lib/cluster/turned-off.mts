import type { Kubectl } from '../reach/kubectl.mts'
import type { ClusterStep } from '../run/step.mts'

/** Seconds that pods may take to end. */
const grace = 120

/**
 * The step that nothing is left in a namespace of what the settings turn off, such as Superset's beat. `objects` are kind/name.
 * It waits for their pods: a migration that follows must not meet them.
 */
export const hasNoneOf = (kubectl: Kubectl, namespace: string, objects: string[], name = 'has nothing that the settings turn off'): ClusterStep => ({
  name,
  check: async () => {
    const found = (await kubectl`-n ${namespace} get ${objects} --ignore-not-found -o name`).trim().split('\n').filter(Boolean)
    return found.length === 0 ? '' : `is still there: ${found.map((one) => one.replace(/\.[\w.]+\//, '/')).join(', ')}`
  },
  look: `kubectl -n ${namespace} get ${objects.join(' ')} --ignore-not-found     # nothing`,
  change: async () => {
    await kubectl({ timeout: grace + 10 })`-n ${namespace} delete ${objects} --ignore-not-found --cascade=foreground --timeout=${grace}s`
  },
  byHand: `kubectl -n ${namespace} delete ${objects.join(' ')} --ignore-not-found --cascade=foreground`,
  timeout: grace + 60
})
