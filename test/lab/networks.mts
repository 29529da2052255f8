import { messageOf } from '../../lib/base/errors.mts'
import type { Engine } from './engine.mts'
import { label } from './place.mts'
import type { Progress } from './progress.mts'

type Network = { name: string; subnet: string; gateway: string; mtu: number }

/**
 * Both are internal to Docker: nothing is routed out of them. The bridge's own address is at the end of the range, so
 * that at the public network's gateway, .1, nobody answers.
 */
export const networks = {
  private: { name: 'keybuzz-private', subnet: '10.0.0.0/24', gateway: '10.0.0.254', mtu: 1450 },
  public: { name: 'keybuzz-public', subnet: '198.51.100.0/24', gateway: '198.51.100.254', mtu: 1500 }
} satisfies Record<string, Network>

const ensure = async ({ container: { dockerode: docker } }: Engine, network: Network): Promise<boolean> => {
  const there = await docker.getNetwork(network.name).inspect().catch(() => undefined)
  if (there) return false
  await docker.createNetwork({
    Name: network.name,
    CheckDuplicate: true,
    Internal: true,
    Labels: label,
    IPAM: { Config: [{ Subnet: network.subnet, Gateway: network.gateway }] },
    Options: { 'com.docker.network.driver.mtu': String(network.mtu) }
  }).catch((error: unknown) => {
    const words = messageOf(error)
    throw new Error(
      `The network ${network.name} (${network.subnet}) cannot be made: ${words}. Where "Pool overlaps" is said,` +
        ' another Docker network or a route of this machine has these addresses: `docker network ls`, `ip route`.'
    )
  })
  return true
}

/** The private network, as Hetzner's with its MTU, and the public one. */
export const ensureNetworks = async (engine: Engine, progress: Progress): Promise<void> => {
  for (const network of Object.values(networks))
    if (await ensure(engine, network)) progress.note(`Network ${network.name} ${network.subnet}`)
}
