import type { Kubectl } from '../reach/kubectl.mts'
import type { ClusterStep } from '../run/step.mts'
import type { Check } from './check.mts'

type Event = {
  involvedObject: { kind: string; namespace?: string; name: string }
  type: string
  message: string
}

type Ingress = { metadata: { namespace: string; name: string }; spec: { ingressClassName?: string; rules?: { host?: string }[] } }

/**
 * The step that the controller has taken every Ingress and the ConfigMap. One that it refuses is answered by 404. An event
 * says why, for an hour. After that only the missing file in nginx's configuration shows it.
 */
export const hasRefusedNothing = (kubectl: Kubectl, check: Check): ClusterStep => ({
  name: 'has refused no Ingress, and nothing of its configuration',
  check: async () => {
    const itemsOf = <Item,>(json: string): Item[] => (JSON.parse(json) as { items: Item[] }).items
    const events = itemsOf<Event>(await kubectl`get events -A --sort-by=.lastTimestamp -o json`)
    const all = itemsOf<Ingress>(await kubectl`get ingress -A -o json`)
    const files = (await kubectl`-n nginx-ingress exec daemonset/nginx-ingress -- ls /etc/nginx/conf.d`).split('\n')
    const warning = (kind: string, where: string, name?: string): string => {
      const latest = events.findLast(({ involvedObject: object }) =>
        object.kind === kind && object.namespace === where && (name === undefined || object.name === name)
      )
      return latest?.type === 'Warning' ? latest.message : ''
    }
    const configured = warning('ConfigMap', 'nginx-ingress')
    const ingresses = all.filter(({ spec }) => spec.ingressClassName === 'nginx')
    const refused = ingresses.flatMap(({ metadata: { namespace, name }, spec: { rules = [] } }) => {
      const missing = files.includes(`${namespace}-${name}.conf`) ? '' : "it is missing in nginx's configuration"
      // nginx would take all its requests for the load balancers' own.
      const taken = check.host !== '' && rules.some(({ host }) => host === check.host)
      return [warning('Ingress', namespace, name) || missing, taken ? `has the name of the health check, ${check.host}` : '']
        .filter(Boolean).map((one) => `Ingress ${namespace}/${name}: ${one}`)
    })
    const words = [configured && `ConfigMap nginx-config: ${configured}`, ...refused].filter(Boolean)
    return words.length > 0 ? words.join('\n') : `= ${ingresses.length} Ingresses`
  },
  look: `kubectl get events -A --field-selector type=Warning | grep -E ' (ingress|configmap)/'
kubectl get ingress -A
# Each Ingress of the class nginx has a file NAMESPACE-NAME.conf here:
kubectl -n nginx-ingress exec daemonset/nginx-ingress -- ls /etc/nginx/conf.d`,
  within: 15, // one that was just made is being read
  hint: 'until it is mended, its names are answered by 404'
})
