import { z } from 'zod'
import { isHostname } from '../../base/names.mts'
import { integer, list, number, port, section, text } from './fields.mts'

const PACKAGE = /^[a-z0-9][a-z0-9+.-]{1,80}$/

const machine = (cpus: number, memory: number, disk: number) =>
  section({
    cpus: integer(1, 1024).default(cpus),
    memory: number(0.1, 100_000, 'GiB').default(memory),
    disk: number(0.1, 1_000_000, 'GiB').default(disk)
  })

/** How the bastion reaches the nodes. */
export const ssh = section({
  connect_timeout: integer(1, 600, 'seconds').default(10),
  parallel: integer(1, 256, 'hosts').default(16),
  port: port().default(22)
})

/** What a node needs before K3s is installed. */
export const prepare = section({
  packages: list(text('the name of a Debian package', (value) => PACKAGE.test(value)), 0, 100, 'packages')
    .default(['ca-certificates', 'conntrack', 'e2fsprogs', 'ethtool', 'iptables', 'kmod', 'python3', 'ufw']),
  clock_skew: number(0.01, 60, 'seconds').default(1),
  etcd_fsync_p99: number(0.1, 10_000, 'ms').default(25),
  server: machine(2, 3.5, 20),
  agent: machine(2, 3.5, 20)
})

/** What the cluster must still be able to run without its lost workers. */
export const capacity = section({
  lost_workers: integer(0, 100, 'workers').default(1),
  pods: integer(1, 100_000, 'pods').default(1000),
  cpus: number(0.1, 100_000, 'CPUs').default(24),
  memory: number(0.1, 1_000_000, 'GiB').default(48)
})

export const POOLS = ['general', 'heavy', 'observability', 'reserve'] as const

/** The roles that the five workers have in the document. */
const DOCUMENTED_POOLS = {
  'k3s-worker-01': 'general',
  'k3s-worker-02': 'general',
  'k3s-worker-03': 'heavy',
  'k3s-worker-04': 'observability',
  'k3s-worker-05': 'reserve'
} as const

/** Hostname to pool. */
export const pools =
  z.record(z.string().refine(isHostname), z.enum(POOLS, { error: `one of ${POOLS.join(', ')}` }), {
    error: (issue) => (issue.code === 'invalid_key' ? 'a HOSTNAME of servers.tsv before the colon' : 'hostname: pool')
  }).default(DOCUMENTED_POOLS)
