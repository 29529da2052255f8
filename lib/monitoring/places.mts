import type { Fault } from '../base/errors.mts'
import { inPools, type Host } from '../input/inventory.mts'
import type { Settings } from '../input/settings.mts'

/** How many Alertmanagers there always are. */
export const alertmanagers = 2

/**
 * What is to be said where the pools of `monitoring.pools` have fewer nodes than there are replicas: each is on a node of its
 * own, so one would wait for ever.
 */
export const tooFewNodes = (hosts: Host[], { monitoring: { pools, prometheus } }: Settings): Fault[] => {
  const wanted = Math.max(alertmanagers, prometheus.replicas)
  const names = inPools(hosts, pools).map(({ name }) => name)
  if (names.length >= wanted) return []
  return [{
    file: 'settings.yaml', what: 'monitoring.pools', value: pools.join(', '),
    expected: `pools with at least ${wanted} nodes, found ${names.length === 0 ? 'none' : names.join(', ')}`,
    remedy: 'Name one more pool, such as general: each replica is on a node of its own.'
  }]
}
