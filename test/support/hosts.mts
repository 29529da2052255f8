import type { Host } from '../../lib/input/inventory.mts'

/** A made-up host, with whatever the test needs of it. */
export const hostOf = (name: string, more: Partial<Host> = {}): Host => ({
  name, address: '192.0.2.1', publicAddress: '', user: 'root', fqdn: '', role: 'agent', stack: 'k3s-node', pool: 'general', line: 2, ...more
})
