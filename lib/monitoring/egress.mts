import type { Target } from './targets.mts'

/** The egress rules of a NetworkPolicy that let a pod ask these targets, each address and port once. */
export const egressTo = (targets: Target[]): string => {
  const places = new Set(targets.flatMap((one) => one.targets).map((target) => {
    const { hostname, port, protocol } = new URL(target.includes('://') ? target : `http://${target}`)
    return `${hostname}:${port || (protocol === 'https:' ? 443 : 80)}`
  }))
  const ports = Map.groupBy([...places].map((place) => place.split(':') as [string, string]), ([host]) => host)
  return JSON.stringify([...ports].map(([host, found]) => ({
    to: [{ ipBlock: { cidr: `${host}/32` } }],
    ports: found.map(([, port]) => ({ protocol: 'TCP', port: Number(port) }))
  })))
}
