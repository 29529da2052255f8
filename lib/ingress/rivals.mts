import { getPods } from '../cluster/pods.mts'
import type { Kubectl } from '../reach/kubectl.mts'
import type { ClusterStep, NodeStep } from '../run/step.mts'
import { privatePorts } from './ingress.mts'

// nginx itself is in a pod's cgroup. One that was installed on the node is not.
export const hasPortsFree: NodeStep = {
  name: 'has 80 and 443 for the ingress',
  always: true,
  check: `ss -Hltnp '( sport = :80 or sport = :443 )' | while read -r _ _ _ address _ users; do
  for pid in $(grep -o 'pid=[0-9]*' <<<"$users" | cut -d= -f2 | sort -u); do
    cgroup=$(cat "/proc/$pid/cgroup" 2>/dev/null) || continue # it has just ended, as nginx's own after a reload
    [[ -z $cgroup || $cgroup == *kubepods* ]] ||
      echo "$address is taken by $(ps -o comm= -p "$pid") (process $pid): $(ps -o args= -p "$pid" | cut -c1-80)"
  done
done`,
  hint: 'stop it and keep it from starting: systemctl disable --now UNIT, or docker stop CONTAINER'
}

const ports = [80, 443, ...privatePorts]

/** Pods can take ports of the node without a process that listens there: Traefik, and the pods of K3s's servicelb. */
export const hasNoRival = (kubectl: Kubectl): ClusterStep => ({
  name: 'has no other pod with its ports',
  check: async () => {
    const others = (await getPods(kubectl)).filter(({ metadata }) => metadata.namespace !== 'nginx-ingress')
    const rivals = others.map(({ metadata: { namespace, name }, spec: { containers = [] } }) => ({
      pod: `${namespace}/${name}`,
      taken: containers.flatMap((container) => container.ports ?? []).map(({ hostPort }) => hostPort).filter((port) => port !== undefined)
    }))
    return rivals.filter(({ taken }) => taken.some((port) => ports.includes(port))).map(({ pod, taken }) =>
      `${pod} has the port${taken.length > 1 ? 's' : ''} ${taken.join(', ')} of its node${causeOf(pod)}`
    ).join('\n')
  },
  look: `kubectl get pods -A -o custom-columns='NAMESPACE:.metadata.namespace,NAME:.metadata.name,PORTS:.spec.containers[*].ports[*].hostPort' |
  grep -wE '${ports.join('|')}' | grep -v '^nginx-ingress '`,
  hint: 'kubectl get pods -A -o wide | grep -E "traefik|svclb"'
})

const causeOf = (pod: string): string => {
  if (!/^kube-system\/(traefik|svclb)-/.test(pod)) return ''
  return ": K3s's own Traefik and servicelb are on; 09_k3s_02 turns them off"
}
