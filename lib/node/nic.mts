import type { Run } from '../run/run.mts'
import type { Host } from '../input/inventory.mts'

/**
 * The NIC that holds IP_PRIVEE on each host, by the host's name; '' where none does. Its name differs between servers
 * (enp7s0, ens10, eth1), and the default route's NIC is the public one.
 */
export const readNics = async (run: Run, hosts: Host[]): Promise<Map<string, string>> => {
  const lists = await run.read(hosts, `ip -o -4 address show | awk '{print $2, $4}'`)
  return new Map([...lists].map(([name, list]) => {
    const address = hosts.find((host) => host.name === name)?.address
    const lines = list.split('\n').map((line) => line.split(' '))
    return [name, lines.find(([, cidr]) => cidr?.split('/')[0] === address)?.[0] ?? '']
  }))
}
