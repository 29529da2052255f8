import { contains, overlap, parseAddress, parseCidr, type Cidr } from '../base/ipv4.mts'
import type { Host } from '../input/inventory.mts'
import type { Added, Rule, State } from './firewall-rules.mts'

// What others have made of a node's firewall: rules that conflict with ours, and ways in that end once ufw is on.

/** A rule of ufw, as `ufw show added` prints it (ufw 0.36, parser.py, get_command). */
type Spec = {
  action: string
  routed: boolean
  outgoing: boolean
  /** The NIC it comes in on, or '' for any. */
  nic: string
  from: string
  to: string
  /** As in 80,443 or 2379:2380; '' for all. */
  ports: string
  /** tcp, udp, ..., or '' for any. */
  protocol: string
  /** Its ports are not known here: an application profile, or ports of the sender. */
  isVague: boolean
}

const parseSpec = (spec: string): Spec | undefined => {
  const [, route = '', action = '', rest = ''] = /^ufw (route )?(allow|deny|reject|limit)\b(.*)$/.exec(spec) ?? []
  if (action === '') return undefined
  const word = (pattern: RegExp): string => pattern.exec(rest)?.[1] ?? ''
  const short = /^(?: out)?(?: log(?:-all)?)? ([\d,:]+)(?:\/(\w+))?$/.exec(rest)
  const isFull = / (in on|out on|from|to) \S/.test(rest)
  const ports = short?.[1] ?? word(/ to \S+ port ([\d,:]+)/)
  return {
    action, routed: route !== '', outgoing: route === '' && / out( |$)/.test(rest),
    nic: word(/ in on (\S+)/), from: word(/ from (\S+)/) || 'any', to: word(/ to (\S+)/) || 'any',
    ports, protocol: short?.[2] ?? word(/ proto (\S+)/),
    isVague: (!short && !isFull) || / app /.test(rest) || (ports === '' && / port /.test(rest)) || / from \S+ port /.test(rest)
  }
}

type Ports = { ports: string; protocol: string }

const rangesOf = (ports: string): [number, number][] => ports.split(',').map((range) => {
  const [first = 0, last = first] = range.split(':').map(Number)
  return [first, last]
})

const sharePorts = (a: Ports, b: Ports): boolean =>
  (a.protocol === '' || b.protocol === '' || a.protocol === b.protocol) &&
  (a.ports === '' || b.ports === '' || rangesOf(a.ports).some(([first, last]) => rangesOf(b.ports).some(([from, to]) => first <= to && from <= last)))

const portsOf = ({ port }: Rule): Ports => {
  const [ports = '', protocol = ''] = port.split('/')
  return { ports, protocol }
}

const networkOf = (text: string): Cidr | undefined => {
  const address = parseAddress(text)
  return address === undefined ? parseCidr(text) : { base: address, prefix: 32 }
}

const shareAddresses = (a: string, b: string): boolean => {
  if (a === 'any' || b === 'any' || a === b) return true
  const [one, other] = [networkOf(a), networkOf(b)]
  return one !== undefined && other !== undefined && overlap(one, other)
}

/** A rule that the cluster needs, with what `ufw show added` prints for it. */
type Wanted = Rule & { spec: string }

const isPods = (nic: string): boolean => nic === 'cni0' || nic === 'flannel.1'

const guarded = {
  agent: [{ ports: '8472', protocol: 'udp' }, { ports: '10250', protocol: 'tcp' }],
  server: ['8472/udp', '2379/tcp', '2380/tcp', '2381/tcp', '6443/tcp', '10250/tcp'].map((port) => portsOf({ port } as Rule))
}

/** In words the rules of others that open the cluster's ports to more than the private network, or close them to the cluster. */
export const conflicts = (wanted: Wanted[], host: Host, { added, nic }: Pick<State, 'added' | 'nic'>): string[] =>
  added.flatMap((rule, index) => {
    const spec = rule.ours ? undefined : parseSpec(rule.spec)
    if (!spec) return []
    // ufw numbers IPv4 rules first, in this order (backend_iptables.py, get_status).
    const number = / (from|to) \S*:/.test(rule.spec) ? '' : `rule ${index + 1} of \`ufw status numbered\`, `
    const who = `${number}"${rule.line}"`
    const remedy = `remove it, it is not ours: ${rule.spec.replace(/^ufw (route )?/, 'ufw $1delete ')}`
    const opened = guarded[host.role].filter((target) => opens(spec, target, nic))
    if (opened.length > 0) {
      return [`${who} opens ${opened.map(({ ports, protocol }) => `${ports}/${protocol}`).join(', ')} beyond the private network: ${remedy}`]
    }
    const closed = wanted.filter((one) => closes(spec, one, { wanted, host, nic }) && (isItsAllow(rule, one) || index < placeOf(one, added)))
    return closed.length > 0 ? [`${who} keeps out what the cluster needs (${purposes(closed)}): ${remedy}`] : []
  })

// True where a rule lets anybody, or another NIC than the private one, reach the port.
const opens = (spec: Spec, target: Ports, nic: string): boolean => {
  if (!/^(allow|limit)$/.test(spec.action) || spec.routed || spec.outgoing || spec.isVague) return false
  if (spec.nic === '' ? spec.from !== 'any' : [nic, 'lo', 'cni0', 'flannel.1'].includes(spec.nic)) return false
  return sharePorts(spec, target)
}

// ufw would change a rule that differs only in its action into ours.
const isItsAllow = (rule: Added, { spec }: Wanted): boolean => rule.spec.replace(/^(ufw (?:route )?)\w+/, '$1allow') === spec

// Ours is added at the end.
const placeOf = ({ spec }: Wanted, added: Added[]): number => {
  const index = added.findIndex((one) => one.spec === spec)
  return index === -1 ? Infinity : index
}

const closes = (spec: Spec, rule: Wanted, { wanted, host, nic }: { wanted: Wanted[]; host: Host; nic: string }): boolean => {
  if (spec.action === 'allow' || spec.outgoing || spec.isVague || spec.routed !== rule.routed) return false
  if (spec.nic !== '' && spec.nic !== (rule.nic || nic)) return false
  if (!shareAddresses(spec.to, rule.to || (rule.routed ? 'any' : host.address))) return false
  if (rule.port === '' && spec.ports !== '') return false // pods may be kept from single ports
  return sharePorts(spec, portsOf(rule)) && sourcesOf(rule, wanted).some((source) => shareAddresses(spec.from, source))
}

// Of the private network the cluster needs its own machines. A single one of the rest may be kept out.
const sourcesOf = (rule: Wanted, wanted: Wanted[]): string[] => {
  const network = parseCidr(rule.from)
  if (!network || isPods(rule.nic)) return [rule.from]
  const machines = wanted.map(({ from }) => from).filter((from) => contains(network, parseAddress(from) ?? -1))
  return machines.length > 0 ? machines : [rule.from]
}

const purposes = (rules: Wanted[]): string =>
  [...new Set(rules.map(({ why, port }) => [why, port].filter(Boolean).join(' ')))].join(', ')

// K3s's own ports are to be closed to others, and ufw's before.rules let the answers to DHCP in.
const isExpected = ({ port, process }: { port: number; process: string }): boolean =>
  /^(k3s|containerd)/.test(process) || port === 68 || port === 546

// That Prometheus is let in is nothing to others who read the same exporter.
const isForPrometheus = (text: string): boolean => / for Prometheus'?$/.test(text)

/** In words the ways into a node that end once ufw denies what no rule allows: what listens there for others than the node itself. */
export const ends = (wanted: Wanted[], { added, listening, ssh }: Pick<State, 'added' | 'listening' | 'ssh'>): string[] => {
  const allowed = added.filter(({ line, ours }) => !ours || !isForPrometheus(line)).map(({ spec }) => parseSpec(spec))
    .filter((spec) => spec !== undefined)
    .filter(({ action, routed, outgoing, isVague, nic }) => /^(allow|limit)$/.test(action) && !routed && !outgoing && !isVague && !isPods(nic))
  const needed = wanted.filter(({ routed, nic, why }) => !routed && !isPods(nic) && !isForPrometheus(why))
  const lets = (target: Ports): boolean => allowed.some((spec) => sharePorts(spec, target)) || needed.some((rule) => sharePorts(portsOf(rule), target))
  const ways = listening.map(listenerOf).filter((one) => one !== undefined).filter((one) => !isExpected(one))
    .toSorted((a, b) => a.port - b.port || a.protocol.localeCompare(b.protocol))
  const closed = ways.filter(({ port, protocol }) => !lets({ ports: String(port), protocol }))
    .map(({ port, protocol, process }) => `${port}/${protocol}${process && ` ${process}`}`)
  const toSsh = { ports: ssh.port, protocol: 'tcp' }
  const admins = [...allowed.filter((spec) => sharePorts(spec, toSsh)), ...needed.filter((rule) => sharePorts(portsOf(rule), toSsh))].map(({ from }) => from)
  return [
    ...(closed.length > 0 ? [`this closes what listens on ${[...new Set(closed)].join(', ')}`] : []),
    ...(admins.includes('any') ? [] : [`this leaves ssh, ${ssh.port}/tcp, to ${[...new Set(admins)].join(', ')} alone`])
  ]
}

type Listener = { protocol: string; port: number; process: string }

// A line of `ss -Hlntup`. Who listens is text from elsewhere: a process can call itself anything.
const listenerOf = (line: string): Listener | undefined => {
  const [, protocol = '', address = '', port = '', process = ''] = /^(tcp|udp)\s+\S+\s+\d+\s+\d+\s+(\S+):(\d+)\s+\S+\s*(?:users:\(\("([^"]*)")?/.exec(line) ?? []
  if (protocol === '' || /^127\.|^\[::1\]|^\[::ffff:127\.|%lo$/.test(address)) return undefined
  return { protocol, port: Number(port), process: process.replace(/[^\w.:-]/g, '?') }
}
