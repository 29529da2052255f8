import type { Host } from '../input/inventory.mts'
import type { Run } from '../run/run.mts'

/**
 * The NIC with IP_PRIVEE of each host, by the host's name; '' where there is none. Its name differs between servers
 * (enp7s0, ens10, eth1), and the NIC of the default route is the public one. The name goes into shell: one that a shell
 * could misread counts as none.
 */
export const readNics = (run: Run, hosts: Host[]): Promise<Map<string, string>> =>
  run.ask(hosts, {
    what: 'NIC has its private address',
    shell: ({ address }) => `ip -o -4 address show | awk '{ split($4, at, "/") } at[1] == "${address}" && $2 ~ /^[A-Za-z0-9_.-]+$/ && !found++ { print $2 }'`,
    bare: '<NIC>'
  })
