import { getPods, isReady } from '../cluster/pods.mts'
import type { Kubectl } from '../reach/kubectl.mts'
import type { Run } from '../run/run.mts'
import { namespace } from './holders.mts'

const ports = { prometheus: 9090, alertmanager: 9093 }
export type Service = keyof typeof ports

/** The names of a service's pods that are ready, and not on a node that is sick. */
export const readyPods = async ({ kubectl, sick }: Pick<Run, 'kubectl' | 'sick'>, service: Service): Promise<string[]> =>
  (await getPods(kubectl, { namespace, label: `app=${service}` }))
    .filter((pod) => isReady(pod) && !sick().includes(pod.spec.nodeName ?? ''))
    .map(({ metadata }) => metadata.name)

/** The path of a pod's own HTTP server in the API. It is how the bastion reaches what no Ingress shows. */
export const pathOfPod = (service: Service, pod: string, path: string): string =>
  `/api/v1/namespaces/${namespace}/pods/${pod}:${ports[service]}/proxy${path}`

/** What a pod answers. */
export const askPod = (kubectl: Kubectl, service: Service, pod: string, path: string): Promise<string> =>
  kubectl`get --raw ${pathOfPod(service, pod, path)}`

type Series = { metric: Record<string, string>; value: [number, string] }

/** The series that a query has at this moment, of one pod of Prometheus. */
export const queryPod = async (kubectl: Kubectl, pod: string, query: string): Promise<Series[]> => {
  const answer = await askPod(kubectl, 'prometheus', pod, `/api/v1/query?query=${encodeURIComponent(query)}`)
  return (JSON.parse(answer) as { data: { result: Series[] } }).data.result
}

/** How an operator asks the same. */
export const askByHand = (service: Service, path: string, filter: string): string =>
  `for pod in $(kubectl -n ${namespace} get pods -l app=${service} -o jsonpath='{.items[*].metadata.name}'); do
  kubectl get --raw "${pathOfPod(service, '$pod', path)}" | jq -r '${filter}'
done`
