import type { Kubectl } from '../reach/kubectl.mts'
import type { ClusterStep } from '../run/step.mts'
import type { Check } from './check.mts'

type Event = {
  involvedObject: { kind: string; namespace?: string; name: string }
  type: string
  message: string
}

type Ingress = {
  kind: 'Ingress'
  metadata: { namespace: string; name: string; annotations?: Record<string, string> }
  spec: { ingressClassName?: string; rules?: { host?: string }[] }
}
type Found = Ingress | { kind: 'IngressClass'; metadata: { name: string } }

const oldAnnotation = 'kubernetes.io/ingress.class'

// The controller's own order (kubernetes-ingress 5.5.4, HasCorrectIngressClass). It takes no Ingress without a class, and
// the API server gives such a one a class only when it is made, where one is the default: ours is not.
const classOf = ({ metadata: { annotations = {} }, spec }: Ingress): string => annotations[oldAnnotation] || (spec.ingressClassName ?? '')

// The master of its host has its locations; a minion has no file (isMinion there).
const isMinion = ({ metadata: { annotations = {} } }: Ingress): boolean => annotations['nginx.org/mergeable-ingress-type'] === 'minion'

const nameOf = ({ metadata: { namespace, name } }: Ingress): string => `${namespace}/${name}`

// What no controller takes, and what only the old annotation gives to ours. Both are easily overlooked, and no fault here.
const oddities = (all: Ingress[], classes: string[]): string[] => {
  const lost = all.filter((one) => !classes.includes(classOf(one)))
    .map((one) => (classOf(one) === '' ? nameOf(one) : `${nameOf(one)} (class ${classOf(one)})`))
  const old = all.filter((one) => classOf(one) === 'nginx' && one.metadata.annotations?.[oldAnnotation])
  return [
    ...(lost.length > 0 ? [`= nobody's: ${lost.join(', ')}`] : []),
    ...(old.length > 0 ? [`= by the old annotation ${oldAnnotation}: ${old.map(nameOf).join(', ')}`] : [])
  ]
}

// The controller writes it above each location of a minion (internal/configs/version1/nginx.ingress.tmpl).
const minionsOfMasters = 'sed -n "s|.*# location for minion ||p" /etc/nginx/conf.d/*.conf 2>/dev/null || true'

/**
 * The step that the controller has taken every Ingress and the ConfigMap. One that it refuses is answered by 404. An event
 * says why, for an hour. After that only the missing file in nginx's configuration shows it.
 */
export const hasRefusedNothing = (kubectl: Kubectl, check: Check): ClusterStep => ({
  name: 'has refused no Ingress, and nothing of its configuration',
  check: async () => {
    const itemsOf = <Item,>(json: string): Item[] => (JSON.parse(json) as { items: Item[] }).items
    const events = itemsOf<Event>(await kubectl`get events -A --sort-by=.lastTimestamp -o json`)
    const found = itemsOf<Found>(await kubectl`get ingress,ingressclass -A -o json`)
    const all = found.filter((one) => one.kind === 'Ingress')
    const classes = found.filter((one) => one.kind === 'IngressClass').map(({ metadata }) => metadata.name)
    const files = (await kubectl`-n nginx-ingress exec daemonset/nginx-ingress -- ls /etc/nginx/conf.d`).split('\n')
    const warning = (kind: string, where: string, name?: string): string => {
      const latest = events.findLast(({ involvedObject: object }) =>
        object.kind === kind && object.namespace === where && (name === undefined || object.name === name)
      )
      return latest?.type === 'Warning' ? latest.message : ''
    }
    const configured = warning('ConfigMap', 'nginx-ingress')
    const ingresses = all.filter((one) => classOf(one) === 'nginx')
    const merged = ingresses.some(isMinion)
      ? (await kubectl`-n nginx-ingress exec daemonset/nginx-ingress -- sh -c ${minionsOfMasters}`).split('\n')
      : []
    const isThere = (one: Ingress): boolean =>
      (isMinion(one) ? merged.includes(nameOf(one)) : files.includes(`${nameOf(one).replace('/', '-')}.conf`))
    const refused = ingresses.flatMap((one) => {
      const { metadata: { namespace, name }, spec: { rules = [] } } = one
      const where = isMinion(one) ? ' (no master has its host, or another minion its paths)' : ''
      const missing = isThere(one) ? '' : `it is missing in nginx's configuration${where}`
      // nginx would take all its requests for the load balancers' own.
      const taken = check.host !== '' && rules.some(({ host }) => host === check.host)
      return [warning('Ingress', namespace, name) || missing, taken ? `has the name of the health check, ${check.host}` : '']
        .filter(Boolean).map((one) => `Ingress ${namespace}/${name}: ${one}`)
    })
    const words = [configured && `ConfigMap nginx-config: ${configured}`, ...refused].filter(Boolean)
    return [...(words.length > 0 ? words : [`= ${ingresses.length} Ingresses`]), ...oddities(all, classes)].join('\n')
  },
  look: `kubectl get events -A --field-selector type=Warning | grep -E ' (ingress|configmap)/'
kubectl get ingress,ingressclass -A
# Each Ingress of the class nginx has a file NAMESPACE-NAME.conf here:
kubectl -n nginx-ingress exec daemonset/nginx-ingress -- ls /etc/nginx/conf.d
# A minion (nginx.org/mergeable-ingress-type) has none. It is in its master's file:
kubectl -n nginx-ingress exec daemonset/nginx-ingress -- sh -c '${minionsOfMasters}'`,
  within: 15, // one that was just made is being read
  hint: 'until it is mended, its names are answered by 404'
})
