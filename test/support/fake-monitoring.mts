import type { Kubectl } from '../../lib/reach/kubectl.mts'
import { fakeKubectl } from './fake-kubectl.mts'

type Pod = { name: string; node?: string; ready?: boolean }

/**
 * A kubectl for a cluster with these pods of Prometheus and Alertmanager. `answer` gets a pod and the path that it is asked,
 * without the query's encoding. What was run in a pod is in `sent`.
 */
export const fakeMonitoring = (
  pods: Record<'prometheus' | 'alertmanager', Pod[]>,
  answer: (pod: string, path: string) => unknown,
  log = ''
): { kubectl: Kubectl; sent: string[] } => {
  const sent: string[] = []
  const kubectl = fakeKubectl((command) => {
    const [, service] = /get pods .*?app=(\w+)/.exec(command) ?? []
    if (service === 'prometheus' || service === 'alertmanager') {
      return JSON.stringify({ items: pods[service].map(({ name, node = 'k3s-worker-04', ready = true }) => ({
        metadata: { name }, spec: { nodeName: node }, status: { conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }] }
      })) })
    }
    if (command.startsWith('-n monitoring logs ')) return log
    const [, asked, program] = /^-n monitoring exec ([\w-]+) -- (.*)/.exec(command) ?? []
    if (asked !== undefined) {
      sent.push(`${asked} ${program}`)
      return ''
    }
    const [, pod, path] = /^get --raw \$?'?\/api\/v1\/namespaces\/monitoring\/pods\/([\w-]+):\d+\/proxy([^' ]*)/.exec(command) ?? []
    if (pod === undefined || path === undefined) throw new Error(`no answer for ${command}`)
    const said = answer(pod, decodeURIComponent(path))
    return typeof said === 'string' ? said : JSON.stringify(said)
  })
  return { kubectl, sent }
}
