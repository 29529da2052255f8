import { addresses, parseCidr } from '../base/ipv4.mts'
import type { Node, Nodes } from '../cluster/nodes.mts'
import type { Settings } from '../input/settings.mts'
import type { Run } from '../run/run.mts'
import type { ClusterStep } from '../run/step.mts'

/** The step that workers and address ranges are enough for the targets of the settings. */
export const hasCapacity = ({ agents, settings, kubectl }: Pick<Run, 'agents' | 'settings' | 'kubectl'>, nodes: Nodes): ClusterStep => ({
  name: 'has the capacity that the settings ask for',
  check: async () => {
    const all = [...(await nodes.get()).values()]
    const workers = all.filter(({ metadata }) => agents.some(({ name }) => name === metadata.name))
    const addresses = await kubectl`get services -A -o 'jsonpath={.items[*].spec.clusterIP}'`
    const services = addresses.split(' ').filter((address) => address !== 'None').length
    return [...judgeRoom(workers.map(roomOf), settings), ...judgeRanges(all.length, services, settings)].join('\n')
  },
  look: `kubectl get nodes -l '!node-role.kubernetes.io/control-plane' -o custom-columns=NAME:.metadata.name,${
    ['pods', 'cpu', 'memory'].map((kind) => `${kind.toUpperCase()}:.status.allocatable.${kind}`).join(',')}
kubectl get services -A --no-headers | wc -l`,
  hint: 'add a worker to servers.tsv and run apply_all; or correct capacity in the settings'
})

const roomOf = ({ metadata: { name }, status }: Node): Room => {
  const { pods = '0', cpu = '0', memory = '0' } = status.allocatable ?? {}
  return { name, pods: parseQuantity(pods), cpus: parseQuantity(cpu), memory: parseQuantity(memory) / 2 ** 30 }
}

/** What a worker leaves to pods: CPUs, memory in GiB. */
export type Room = { name: string; pods: number; cpus: number; memory: number }

const units: Record<string, number> = { '': 1, k: 1e3, M: 1e6, G: 1e9, T: 1e12, Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30, Ti: 2 ** 40 }

/** Reads a quantity of Kubernetes, such as 7600m or 15893064Ki. Throws for anything else. */
export const parseQuantity = (text: string): number => {
  const [, number, unit = ''] = /^(\d+(?:\.\d+)?)(m|k|M|G|T|Ki|Mi|Gi|Ti)?$/.exec(text) ?? []
  if (number === undefined) throw new Error(`${text} is no quantity`)
  return unit === 'm' ? Number(number) / 1000 : Number(number) * units[unit]!
}

/** What the workers still offer once the largest ones are lost, for each kind of room separately. */
export const roomAfterLoss = (workers: Room[], lost: number): Omit<Room, 'name'> => {
  const left = (kind: 'pods' | 'cpus' | 'memory'): number =>
    workers.map((worker) => worker[kind]).toSorted((a, b) => b - a).slice(lost).reduce((sum, one) => sum + one, 0)
  return { pods: left('pods'), cpus: left('cpus'), memory: left('memory') }
}

/** Compares the workers' room with the targets of the settings: evidence of each, and in words what falls short. */
export const judgeRoom = (workers: Room[], { capacity }: Settings): string[] => {
  const left = roomAfterLoss(workers, capacity.lost_workers)
  const after = `with ${capacity.lost_workers} of ${workers.length} workers lost`
  const row = (kind: string, has: number, wanted: number, digits: number): string => {
    const words = `${has.toFixed(digits)} ${kind} ${after}; the target is ${wanted}`
    return has >= wanted ? `= ${words}` : `only ${words}`
  }
  return [
    row('pods', left.pods, capacity.pods, 0),
    row('CPUs', left.cpus, capacity.cpus, 1),
    row('GiB of memory', left.memory, capacity.memory, 1)
  ]
}

/** The share of each address range that is taken: nodes take a /24 of the pods' range each, Services one address each. */
export const judgeRanges = (nodes: number, services: number, { network, k3s }: Settings): string[] => {
  const ranges = addresses(parseCidr(network.cluster_cidr)!) / 256
  const ips = addresses(parseCidr(network.service_cidr)!) - 2
  const row = (what: string, taken: number, of: number): string =>
    taken <= of * 0.8 ? `= ${taken} of ${of} ${what}` : `${taken} of ${of} ${what} are taken: more than four fifths`
  return [
    row(`ranges for nodes in ${network.cluster_cidr}, each for ${k3s.max_pods} pods`, nodes, ranges),
    row(`addresses for Services in ${network.service_cidr}`, services, ips)
  ]
}
