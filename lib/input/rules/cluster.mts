import { contains, formatCidr, isEdge, overlap, parseAddress } from '../../base/ipv4.mts'
import type { Settings } from '../schema.mts'
import { type Path, pathText, valueAt } from '../yaml.mts'
import { CLUSTER, type Conflict, networkOf, PRIVATE, SERVICE } from './conflict.mts'

const DNS: Path = ['network', 'cluster_dns']

const overlaps = (settings: Settings): Conflict[] =>
  ([[PRIVATE, CLUSTER], [PRIVATE, SERVICE], [CLUSTER, SERVICE]] as const)
    .filter(([first, second]) => overlap(networkOf(settings, first), networkOf(settings, second)))
    .map(([first, second]) => ({
      path: second, uses: [first, second],
      expected: `a network apart from ${pathText(first)} ${formatCidr(networkOf(settings, first))}`,
      remedy: 'Choose networks that share no address.'
    }))

const dnsConflicts = (settings: Settings): Conflict[] => {
  const services = networkOf(settings, SERVICE)
  const dns = parseAddress(settings.network.cluster_dns) ?? 0
  const first = services.base + 1
  if (contains(services, dns) && !isEdge(services, dns) && dns !== first) return []
  return [{
    path: DNS, uses: [SERVICE, DNS],
    expected: `an address inside network.service_cidr ${formatCidr(services)}, not its first (the API's) or last`,
    remedy: 'Choose one in it; by custom the tenth.'
  }]
}

const outsidePrivate = (settings: Settings): Conflict[] => {
  const network = networkOf(settings, PRIVATE)
  const paths: Path[] = [
    ['load_balancers', 'api', 'address'],
    ...settings.load_balancers.http.map((_, index) => ['load_balancers', 'http', index])
  ]
  return paths
    .filter((path) => !contains(network, parseAddress(String(valueAt(settings, path))) ?? 0))
    .map((path) => ({
      path, uses: [PRIVATE, path.slice(0, typeof path.at(-1) === 'number' ? -1 : undefined)],
      expected: `an address inside network.private_cidr ${formatCidr(network)}`,
      remedy: 'Name the private address of the load balancer, or correct network.private_cidr.'
    }))
}

const nameserversInside = (settings: Settings): Conflict[] =>
  settings.network.nameservers.flatMap((server, index) =>
    [CLUSTER, SERVICE]
      .filter((path) => contains(networkOf(settings, path), parseAddress(server) ?? 0))
      .map((path) => ({
        path: ['network', 'nameservers', index], uses: [path, ['network', 'nameservers']],
        expected: `an address outside ${pathText(path)}: nodes need names before the cluster runs`,
        remedy: 'Name a resolver outside the cluster.'
      })))

const ETCD_DEFAULTS = { 'heartbeat-interval': 500, 'election-timeout': 5000 }

/** etcd refuses to start otherwise (etcd: server/embed/config.go). The defaults are K3s's. */
const electionTooShort = (settings: Settings): Conflict[] => {
  const values = new Map(settings.k3s.etcd_args.map((argument) => argument.split('=') as [string, string]))
  const of = (name: keyof typeof ETCD_DEFAULTS) => Number(values.get(name) ?? ETCD_DEFAULTS[name])
  if (of('election-timeout') >= 5 * of('heartbeat-interval')) return []
  return [{
    path: ['k3s', 'etcd_args'], uses: [['k3s', 'etcd_args']],
    expected: `an election-timeout of at least five times the heartbeat-interval of ${of('heartbeat-interval')} (ms)`,
    remedy: 'Set both; etcd does not start otherwise.'
  }]
}

/** What does not fit together of the networks, the load balancers and K3s. */
export const clusterConflicts = (settings: Settings): Conflict[] =>
  [overlaps, dnsConflicts, outsidePrivate, nameserversInside, electionTooShort].flatMap((rule) => rule(settings))
