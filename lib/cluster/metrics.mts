import type { Run } from '../run/run.mts'
import type { ClusterStep } from '../run/step.mts'
import { netcheck } from './pod-network.mts'
import { getPods } from './pods.mts'

type Metrics = { items: { metadata: { name: string } }[] }

/** The step that metrics-server has metrics of every node, and of the netcheck pod on each. */
export const hasMetrics = ({ kubectl, chosen }: Pick<Run, 'kubectl' | 'chosen'>): ClusterStep => ({
  name: 'has metrics of every node, and of a pod on each',
  check: async () => {
    const read = async (path: string): Promise<string[]> => {
      const { items } = JSON.parse(await kubectl`get --raw /apis/metrics.k8s.io/v1beta1/${path}`) as Metrics
      return items.map(({ metadata }) => metadata.name)
    }
    const [nodes, measured, pods] = await Promise.all([
      read('nodes'), read(`namespaces/${netcheck.namespace}/pods`), getPods(kubectl, { namespace: netcheck.namespace })
    ])
    const hasPod = (name: string): boolean => pods.some(({ metadata, spec }) => spec.nodeName === name && measured.includes(metadata.name))
    const names = chosen.map(({ name }) => name)
    return [
      `= ${nodes.length} nodes, ${measured.length} netcheck pods`,
      ...names.filter((name) => !nodes.includes(name)).map((name) => `none of ${name}`),
      ...names.filter((name) => !hasPod(name)).map((name) => `none of the netcheck pod on ${name}`)
    ].join('\n')
  },
  look: `kubectl top nodes; kubectl -n ${netcheck.namespace} top pods`,
  within: 120, // the first metrics come after two rounds of metrics-server
  hint: 'kubectl -n kube-system logs -l k8s-app=metrics-server; is 10250/tcp open between the nodes?'
})
