import { type Fault, UsageError } from '../base/errors.mts'
import { type Host, type Machine, readInventory } from './inventory.mts'
import { addresses, parseCidr } from '../base/ipv4.mts'
import { readSettings, type Settings } from './settings.mts'

export type Inputs = { settings: Settings; hosts: Host[]; machines: Machine[]; notes: string[] }

const faultsOf = async (read: () => Promise<unknown>): Promise<Fault[]> => {
  try {
    await read()
    return []
  } catch (error) {
    if (error instanceof UsageError) return error.faults
    throw error
  }
}

/** Each node takes a /24 of the pods' network. */
const POD_PREFIX = 24

const checkTogether = (inventory: string, hosts: Host[], settings: Settings): Fault[] => {
  const { network, load_balancers: { api, http } } = settings
  // A single server needs no load balancer in front of it.
  const balanced = hosts.filter(({ role }) => role === 'server').length > 1
  const others = new Map([
    ...(balanced ? [[api.address, 'load_balancers.api.address'] as const] : []),
    ...http.map((address) => [address, 'load_balancers.http'] as const),
    ...network.nameservers.map((address) => [address, 'network.nameservers'] as const)
  ])
  const taken = hosts.filter(({ address }) => others.has(address)).map(({ line, address }) => ({
    file: inventory, line, what: 'IP_PRIVEE', value: address, expected: 'an address that no other server has',
    remedy: `${others.get(address)} in the settings names the same.`
  }))
  const cluster = parseCidr(network.cluster_cidr)
  const room = cluster ? addresses(cluster) / addresses({ base: 0, prefix: POD_PREFIX }) : 0
  if (hosts.length <= room) return taken
  return [...taken, {
    file: inventory, what: 'ROLE=k3s', expected: `at most ${room} nodes, found ${hosts.length}`,
    remedy: `network.cluster_cidr ${network.cluster_cidr} in the settings has no /24 for more.`
  }]
}

/**
 * Reads both files that the operator writes, and checks them together. Throws one UsageError with the faults of both.
 * Notes are for the operator; they are not faults.
 */
export const readInputs = async (files: { settings: string; inventory: string }): Promise<Inputs> => {
  let settings: Settings
  try {
    settings = await readSettings(files.settings)
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    // Without settings the environment is unknown: messages about it would only confuse.
    const more = await faultsOf(() => readInventory(files.inventory))
    throw new UsageError([...error.faults, ...more.filter(({ what }) => what !== 'ENV')])
  }
  const { hosts, machines, notes } = await readInventory(files.inventory, {
    environment: settings.environment,
    privateCidr: settings.network.private_cidr,
    pools: settings.pools
  })
  const faults = checkTogether(files.inventory, hosts, settings)
  if (faults.length > 0) throw new UsageError(faults)
  return { settings, hosts, machines, notes }
}
