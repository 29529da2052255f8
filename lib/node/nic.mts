import type { Host } from '../input/inventory.mts'
import type { Run } from '../run/run.mts'

/**
 * The NIC that holds IP_PRIVEE on each host, by the host's name; '' where none does. Its name differs between servers
 * (enp7s0, ens10, eth1), and the default route's NIC is the public one.
 */
export const readNics = (run: Run, hosts: Host[]): Promise<Map<string, string>> =>
  run.ask(hosts, {
    what: 'NIC has its private address',
    shell: ({ address }) => `ip -o -4 address show | awk '{ split($4, at, "/") } at[1] == "${address}" && !found++ { print $2 }'`,
    bare: '<NIC>'
  })
