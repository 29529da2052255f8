import { parseAddress } from '../base/ipv4.mts'
import { notOutside } from '../cluster/network.mts'
import type { Settings } from '../input/settings.mts'
import type { Use } from './app.mts'

/** The egress rules of a NetworkPolicy that let an application reach its backends, each by address and port. */
export const egressTo = ({ backends }: Settings, uses: Use[]): string =>
  JSON.stringify([...new Set(uses.map(({ backend }) => backend))].flatMap((backend) => {
    const { port } = backends[backend]
    const host = backend === 'smtp' ? backends.smtp.host : backends[backend].address
    if (host === '') return []
    const block = parseAddress(host) === undefined
      ? { cidr: '0.0.0.0/0', except: JSON.parse(notOutside) as string[] }
      : { cidr: `${host}/32` }
    return [{ to: [{ ipBlock: block }], ports: [{ protocol: 'TCP', port }] }]
  }))
