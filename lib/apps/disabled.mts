import type { Run } from '../run/run.mts'
import type { ClusterStep } from '../run/step.mts'
import { appNames, namespaceOf } from './app.mts'

/**
 * The step that tells of applications that the settings do not enable and that are in the cluster all the same. It never
 * fails: they may be meant to run on. A plan says it too, as nobody expects it.
 */
export const leavesDisabled = ({ kubectl, settings, mode, note }: Pick<Run, 'kubectl' | 'settings' | 'mode' | 'note'>): ClusterStep => {
  const disabled = appNames.filter((name) => !settings.apps[name].enabled).map(namespaceOf)
  return {
    name: 'leaves alone what is not enabled',
    check: async () => {
      if (disabled.length === 0) return ''
      const there = (await kubectl`get namespaces -o name`).trim().split('\n').map((line) => line.replace('namespace/', ''))
      const left = disabled.filter((namespace) => there.includes(namespace))
      if (mode === 'plan') for (const namespace of left) note(`${inWords(namespace)}. To remove it: kubectl delete namespace ${namespace} (docs/apps.md)`)
      return left.map((namespace) => `= ${inWords(namespace)}`).join('\n')
    },
    look: `kubectl get namespaces ${disabled.join(' ')} --ignore-not-found     # what is here is not enabled, and nothing keeps it`
  }
}

const inWords = (namespace: string): string => `${namespace} is not enabled in the settings. What runs there is left as it is`
