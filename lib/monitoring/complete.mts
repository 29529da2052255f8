import type { Fault } from '../base/errors.mts'
import type { Host, Machine } from '../input/inventory.mts'
import type { Settings } from '../input/settings.mts'
import { waysOf } from './holders.mts'
import { tooFewNodes } from './places.mts'
import { targetFaults } from './targets.mts'

const nobodyTold = (settings: Settings): Fault[] =>
  waysOf(settings).some(({ kind }) => kind === 'tickets') ? [] : [{
    file: 'settings.yaml', what: 'monitoring.alerts.tickets', expected: 'somebody who gets messages',
    remedy: 'Set its webhook, slack or email, and those of pages for what cannot wait.'
  }]

/**
 * All that the settings and servers.tsv lack for a monitoring: somebody who is told, nodes for it, servers that it can ask. These
 * are no rules of the settings: the other scripts do not need them.
 */
export const faultsOf = (settings: Settings, hosts: Host[], machines: Machine[]): Fault[] =>
  [...nobodyTold(settings), ...tooFewNodes(hosts, settings), ...targetFaults(machines, settings)]
