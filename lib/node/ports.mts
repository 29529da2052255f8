import { readFile } from 'node:fs/promises'
import { isAbort, messageOf } from '../base/errors.mts'
import type { Host } from '../input/inventory.mts'
import type { Settings } from '../input/settings.mts'
import { login } from '../reach/ssh.mts'
import type { Run } from '../run/run.mts'

/** What a host reports once it listens. */
export type Ready = {
  /** K3s is installed there. Then nothing else listens on its ports, even while K3s is down. */
  k3s: boolean
  /** Ports on which the test listener listens, such as 6443/tcp. */
  held: string[]
  /** Ports on which something listened already. */
  busy: string[]
  /** Ports that could not be listened on, and why. */
  failed: Record<string, string>
  /** The host's address in the pod network, or '' where flannel does not run yet. */
  overlay: string
}

/** Something to reach, or not to reach. */
export type Target = {
  host: string
  address: string
  port: number
  protocol: 'tcp' | 'udp' | 'icmp'
  /** Bytes of a datagram's payload. */
  size: number
  /** Seconds to try for. */
  seconds: number
  expected: 'open' | 'closed'
  /** A refusal counts as an answer: the packets arrived. That K3s is down is found by another script. */
  mayRefuse: boolean
}

/** A target and what became of it: open, or why not. */
export type Probed = Target & { result: string }

const VXLAN = 8472
const ICMP_AND_IP = 28
const VXLAN_OVERHEAD = 50

/** Seconds after which a listener ends in any case. Longer than ssh waits for a host that does not answer. */
const LISTENER_LIFE = 45

/** Ports that a host must serve to others. Source: K3s's requirements (docs.k3s.io/installation/requirements). */
export const portsOf = ({ role }: Host): number[] => (role === 'server' ? [6443, 2379, 2380, 10250] : [10250])

const ETCD = [2379, 2380]

/**
 * A host that is done goes on listening for these seconds, because other hosts may not be done: a bastion with two CPUs
 * takes seconds to start many hosts. If all goes well the last goodbye ends the listening earlier.
 */
const farewell = (hosts: number): number => Math.min(20, Math.max(3, hosts / 4))

/** Seconds that the listener of another run may go on. That run may have been interrupted. */
const PATIENCE = 5

/**
 * What a host has to try: every port that it needs of each other host over the private network, VXLAN with datagrams
 * that fill the MTU, and the same ports on the public addresses, which must not answer.
 *
 * If flannel runs on both, the kernel holds 8472 and answers nobody. Then the proof is a ping of full size between their
 * addresses in the pod network: it goes through 8472. If it runs only on the other host, there is no proof until K3s has
 * started here too.
 */
export const targetsOf = (host: Host, ready: Map<Host, Ready>, { mtu }: Settings['network']): Target[] => {
  const own = ready.get(host)
  return [...ready].filter(([other]) => other.name !== host.name).flatMap(([other, { k3s, held, overlay }]) => {
    const inside = { host: other.name, address: other.address, size: 0, seconds: 2, expected: 'open', mayRefuse: k3s } as const
    const needed = portsOf(other).filter((port) => host.role === 'server' || !ETCD.includes(port))
    const tcp = needed.map((port) => ({ ...inside, port, protocol: 'tcp' as const }))
    const heldHere = held.includes(`${VXLAN}/udp`)
    const vxlan: Target[] = heldHere
      ? [{ ...inside, port: VXLAN, protocol: 'udp', size: mtu - ICMP_AND_IP }]
      : overlay && own?.overlay
        ? [{ ...inside, address: overlay, port: 0, protocol: 'icmp', size: mtu - VXLAN_OVERHEAD - ICMP_AND_IP }]
        : []
    if (other.publicAddress === '') return [...tcp, ...vxlan]
    const outside = { ...inside, address: other.publicAddress, seconds: 0.5, expected: 'closed' } as const
    return [
      ...tcp,
      ...vxlan,
      ...portsOf(other).map((port) => ({ ...outside, port, protocol: 'tcp' as const })),
      ...(heldHere ? [{ ...outside, port: VXLAN, protocol: 'udp' as const, size: 64 }] : [])
    ]
  })
}

/**
 * The results of a host in words, each with the name of the host at fault: an open public port is the fault of the host
 * that has it.
 */
export const faultsOf = (host: Host, probed: Probed[], { mtu }: Settings['network']): [name: string, fault: string][] =>
  probed.flatMap(({ host: other, address, port, protocol, seconds, expected, mayRefuse, result }): [string, string][] => {
    if (expected === 'closed') {
      const answers = result === 'open' || result === 'only small'
      return answers ? [[other, `${port}/${protocol} on the public address ${address} answers, expected closed`]] : []
    }
    if (result === 'open' || (result === 'refused' && mayRefuse)) return []
    const what = protocol === 'icmp' ? 'pod network' : `${port}/${protocol}`
    const why = {
      refused: 'refused, nothing listens there',
      'no answer': `no answer in ${seconds} s`,
      'only small': `only small datagrams arrive, none of ${mtu} bytes: something on the way has a smaller MTU`,
      'too big': `datagrams of ${mtu} bytes do not leave this node: its private NIC has a smaller MTU`
    }[result] ?? result
    return [[host.name, `${what} to ${other} ${address}: ${why}`]]
  })

/**
 * Tries every port that the cluster needs, from every host to every other, all at once. Also checks that the public
 * addresses are closed. Where nothing listens yet a test listener does, on all addresses: then only the firewall can have
 * closed a public port. Returns in words what is wrong, by the host's name. A host without faults is left out.
 */
export const portMatrix = async (hosts: Host[], { settings, ssh }: Pick<Run, 'settings' | 'ssh'>): Promise<Map<string, string[]>> => {
  const source = await readFile(new URL('./ports.py', import.meta.url), 'utf8')
  const faults = new Map(hosts.map(({ name }) => [name, new Set<string>()]))
  const python = async (host: Host, command: string, words: object): Promise<string> =>
    ssh.capture(host, portsCommand(source, command, { channel: `keybuzz-${host.name}`, ...words }), { timeout: 30 })
  const onEach = async (some: Host[], what: string, work: (host: Host) => Promise<void>): Promise<void> => {
    await Promise.all(some.map(async (host) => {
      try {
        await work(host)
      } catch (error) {
        if (isAbort(error)) throw error
        faults.get(host.name)?.add(`${what}: ${messageOf(error)}`)
      }
    }))
  }

  const ready = new Map<Host, Ready>()
  await onEach(hosts, 'cannot listen', async (host) => {
    const peers = hosts.filter(({ name }) => name !== host.name).map(({ name }) => name)
    const ports = { tcp: portsOf(host), udp: [VXLAN] }
    const answer = await python(host, 'listen', { ...ports, peers, seconds: LISTENER_LIFE, patience: PATIENCE })
    const listening = JSON.parse(answer) as Ready
    ready.set(host, listening)
    for (const [port, why] of Object.entries(listening.failed)) {
      faults.get(host.name)?.add(`cannot listen on ${port}: ${why}`)
    }
  })
  await onEach([...ready.keys()], 'cannot probe', async (host) => {
    const targets = targetsOf(host, ready, settings.network)
    const answer = await python(host, 'probe', { name: host.name, farewell: farewell(hosts.length), targets })
    const probed = answer.split('\n').filter(Boolean).map((line) => JSON.parse(line) as Probed)
    for (const [name, fault] of faultsOf(host, probed, settings.network)) faults.get(name)?.add(fault)
  })
  return toldOnce(new Map([...faults].map(([name, words]) => [name, [...words].sort()])))
}

/**
 * Of a host that several others do not reach, and that does not reach them either, only it says so: it is one host that is
 * not well, and not all of them.
 */
export const toldOnce = (faults: Map<string, string[]>): Map<string, string[]> => {
  const peers = (name: string): string[] =>
    [...faults.keys()].filter((other) => faults.get(name)?.some((fault) => fault.includes(` to ${other} `)))
  const lost = new Map([...faults.keys()].map((name) => [name, peers(name).filter((other) => peers(other).includes(name))]))
  const isAlone = (name: string): boolean =>
    lost.get(name)!.length > 1 && lost.get(name)!.every((other) => lost.get(other)!.length === 1)
  return new Map([...faults].map(([name, some]) =>
    [name, some.filter((fault) => isAlone(name) || !lost.get(name)!.some((other) => isAlone(other) && fault.includes(` to ${other} `)))]))
}

/** The shell that runs lib/node/ports.py on a node: `ports.py COMMAND JSON`. */
export const portsCommand = (source: string, command: string, words: object): string =>
  `python3 - ${command} '${JSON.stringify(words).replaceAll("'", '\\u0027')}' <<'PORTS'\n${source}\nPORTS`

/** How to try by hand, from a host, what the matrix tries over TCP. Without K3s nothing listens: "refused" is good then. */
export const reachByHand = (host: Host, hosts: Host[]): string => {
  const targets = hosts.filter((other) => other !== host).flatMap((other) =>
    portsOf(other).filter((port) => host.role === 'server' || !ETCD.includes(port)).map((port) => `${other.address}/${port}`))
  return `# It prints what is not reached: nothing should be. From outside, the public addresses must answer on none of these ports.
ssh ${login(host)} bash -s <<'END'
for target in ${targets.join(' ')}; do
  why=$(LC_ALL=C timeout 2 bash -c "</dev/tcp/$target" 2>&1) && continue
  [[ $why == *refused* ]] || echo "$target: \${why:-timed out}"
done
END`
}
