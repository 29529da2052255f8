import { inPools, type Host } from '../input/inventory.mts'
import { quoted } from '../base/errors.mts'
import { contains, parseAddress, parseCidr } from '../base/ipv4.mts'
import type { Settings } from '../input/settings.mts'
import { conflicts, ends } from './firewall-others.mts'

/** One rule of ufw that the cluster needs. It always allows: what no rule allows, ufw denies. */
export type Rule = {
  why: string
  /** True for traffic that passes through the node, false for traffic to the node itself. */
  routed: boolean
  /** The NIC it comes in on, or '' for any. */
  nic: string
  /** An address or a network. */
  from: string
  /** A network, or '' for any. */
  to: string
  /** As ufw writes it: 6443/tcp, 80,443/tcp, 2379:2380/tcp, or '' for all. */
  port: string
}

/** A rule that ufw has: its command as `ufw show added` prints it, and the same without the comment. */
export type Added = { line: string; spec: string; ours: boolean }

/** The state of a node's firewall. See `parseState`. */
export type State = {
  /** The NIC that holds IP_PRIVEE, or '' where none does. */
  nic: string
  /** Sockets that listen, as `ss -Hlntup` prints them. */
  listening: string[]
  /** Where the bastion's ssh comes from, and the port it reached. */
  ssh: { from: string; port: string }
  installed: boolean
  /** ENABLED in ufw.conf: whether its service loads anything. */
  enabled: boolean
  /** Whether systemd starts that service at boot. */
  starts: boolean
  /** Whether a change still waits for its confirmation. Without it the node takes the change back. */
  unconfirmed: boolean
  /** What happens to traffic that matches no rule: ACCEPT, DROP or REJECT. */
  defaults: { incoming: string; routed: string }
  added: Added[]
  /** Rules in ufw's own file, as it loads them. */
  file: string[]
  /** Rules and policies in the kernel, as `iptables -S` prints them. */
  kernel: string[]
  /** The same of IPv6's INPUT chain; empty where the kernel has no IPv6. */
  kernel6: string[]
}

/** What must be done to a node's firewall, and in words why. */
export type Difference = {
  add: Rule[]
  remove: Added[]
  /** Defaults that must become deny: incoming, routed. */
  deny: string[]
  enable: boolean
  start: boolean
  /** Whether the kernel's rules differ from ufw's files. */
  reload: boolean
  words: string[]
  /** Rules of others that conflict with ours. They are never touched: the operator decides. */
  conflicts: string[]
}

/** The comment that marks our rules. A rule without it belongs to somebody else. */
const OURS = 'keybuzz-k3s: '

// A rule whose purpose ends like this is for the bastion that made it. There may be another bastion.
const FROM_BASTION = ' from the bastion'

/** The nodes that Prometheus may run on: the agents of its pools, and where there is none, every agent. */
export const scrapers = (hosts: Host[], { monitoring }: Pick<Settings, 'monitoring'>): Host[] => {
  const agents = hosts.filter(({ role }) => role === 'agent')
  const chosen = inPools(agents, monitoring.pools)
  return chosen.length > 0 ? chosen : agents
}

/**
 * The rules that a host needs. Ports: K3s's requirements (docs.k3s.io/installation/requirements); no rule opens
 * anything on another NIC than the private one and the pods' own.
 */
export const declared = (
  host: Host,
  { hosts, settings, nic, ssh }: { hosts: Host[]; settings: Settings } & Pick<State, 'nic' | 'ssh'>
): Rule[] => {
  const { network, load_balancers: { http } } = settings
  const others = hosts.filter(({ name }) => name !== host.name)
  const nodes = others.map(({ address }) => address)
  const servers = others.filter(({ role }) => role === 'server').map(({ address }) => address)
  // A pod reaches another node with its own node's address (flannel masquerades: pkg/trafficmngr/iptables/iptables.go).
  const scraping = scrapers(hosts, settings).filter(({ name }) => name !== host.name).map(({ address }) => address)
  const [pods, services, everyone] = [network.cluster_cidr, network.service_cidr, network.private_cidr]
  const server = host.role === 'server'
  const inside = contains(parseCidr(everyone)!, parseAddress(ssh.from) ?? 0)

  const table: [needed: boolean, nic: string, from: string[], port: string, why: string][] = [
    [true,   '',          [ssh.from],       `${ssh.port}/tcp`, `ssh${FROM_BASTION}`],
    [server, nic,         [everyone],       '6443/tcp',        'API and supervisor'],
    [server, nic,         servers,          '2379:2380/tcp',   'etcd'],
    [true,   nic,         nodes,            '10250/tcp',       'kubelet'],
    [true,   nic,         nodes,            '8472/udp',        'pod network (VXLAN)'],
    [true,   nic,         http,             '80,443/tcp',      'ingress from the load balancers'],
    [inside, nic,         [ssh.from],       '80,443/tcp',      `ingress${FROM_BASTION}`],
    [true,   nic,         scraping,         '9100,9113/tcp',   'metrics for Prometheus'],
    [server, nic,         scraping,         '2381/tcp',        'etcd metrics for Prometheus'],
    [true,   'cni0',      [pods, services], '',                'pods to their node'],
    [true,   'flannel.1', [pods],           '',                'pods of other nodes']
  ]
  const routes: [nic: string, from: string, to: string, why: string][] = [
    ['cni0',      pods,     '',   'pods to anywhere'],
    ['flannel.1', pods,     pods, 'pods of other nodes to pods'],
    [nic,         everyone, pods, 'private network to pods']
  ]
  return [
    ...table
      .filter(([needed]) => needed)
      .flatMap(([, on, from, port, why]) =>
        from.map((source) => ({ why, routed: false, nic: on, from: source, to: '', port }))
      ),
    ...routes.map(([on, from, to, why]) => ({ why, routed: true, nic: on, from, to, port: '' }))
  ]
}

/** The rule as `ufw show added` prints it, without its comment. */
const specOf = ({ routed, nic, from, to, port }: Rule): string => {
  const [ports, protocol] = port.split('/')
  return [
    `ufw ${routed ? 'route ' : ''}allow`,
    nic && `in on ${nic}`,
    `from ${from}`,
    (to || port) && `to ${to || 'any'}`,
    port && `port ${ports} proto ${protocol}`
  ].filter(Boolean).join(' ')
}

/** The command that adds the rule. */
export const addCommand = (rule: Rule): string => `${specOf(rule)} comment '${OURS}${rule.why}'`

/** The command that deletes exactly this rule, comment included: the same rule without our comment would stay. */
export const deleteCommand = ({ line }: Added): string => line.replace(/^ufw (route )?/, 'ufw $1delete ')

/** Reads `ufw show added`. */
export const parseAdded = (text: string): Added[] =>
  text.split('\n').filter((line) => line.startsWith('ufw ')).map((line) => {
    const spec = line.replace(/ comment '[^']*'$/, '')
    // Ours are deleted with this very text, in a shell.
    return { line, spec, ours: line.slice(spec.length).startsWith(` comment '${OURS}`) && /^[\w .,:/-]+$/.test(spec) }
  })

/** Compares what a host needs with the state of its firewall. */
export const difference = (wanted: Rule[], host: Host, state: State): Difference => {
  const { installed, enabled, starts, added, kernel, defaults } = state
  const has = new Set(added.map(({ spec }) => spec))
  const wantedSpecs = new Set(wanted.map(specOf))
  const active = kernel.includes('-N ufw-user-input')

  const add = wanted.filter((rule) => !has.has(specOf(rule)))
  // The ssh rule of another bastion stays.
  const remove = added.filter(({ spec, line, ours }) => ours && !wantedSpecs.has(spec) && !line.endsWith(`${FROM_BASTION}'`))
  const deny = Object.entries(defaults)
    .filter(([, policy]) => installed && policy !== 'DROP' && policy !== 'REJECT')
    .map(([direction]) => direction)
  const reloaded = !active || deny.length > 0 // the change loads all of ufw's files anyway
  const named = wanted.map((rule) => ({ ...rule, spec: specOf(rule) }))
  const drifted = reloaded ? [] : drift(wanted.filter((rule) => has.has(specOf(rule))), state)

  return {
    add,
    remove,
    deny,
    enable: !active || !enabled,
    start: !starts,
    reload: drifted.length > 0,
    words: [
      ...(installed ? [] : ['ufw is not installed']),
      ...(active ? [] : ['ufw is not active']),
      ...(enabled && starts ? [] : ['ufw does not start at boot']),
      ...(state.unconfirmed ? ['an earlier change was not confirmed, the node will take it back'] : []),
      ...deny.map((direction) => `${direction} traffic is allowed by default`),
      ...summary('missing', add),
      ...remove.map(({ spec }) => `no longer needed: ${spec}`),
      ...drifted,
      ...(!active || deny.includes('incoming') ? ends(named, state) : [])
    ],
    conflicts: conflicts(named, host, state)
  }
}

/** `missing: kubelet 10250/tcp on enp7s0 from 10.0.0.101, 10.0.0.102`, one line for each purpose. */
const summary = (what: string, rules: Rule[]): string[] => {
  const purposes = new Map<string, string[]>()
  for (const { why, nic, from, port } of rules) {
    const purpose = [why, port, nic && `on ${nic}`].filter(Boolean).join(' ')
    purposes.set(purpose, [...(purposes.get(purpose) ?? []), from])
  }
  return [...purposes].map(([purpose, from]) => `${what}: ${purpose} from ${from.join(', ')}`)
}

// ufw's files do not show a rule deleted with iptables, a flushed chain, or a policy that another program has set.
const drift = (wanted: Rule[], { file, kernel, kernel6 }: State): string[] => {
  const loaded = new Set(kernel.map(kernelKey))
  const lost = wanted.filter((rule) => !rule.from.includes(':') && !loaded.has(ruleKey(rule)))
  const count = (lines: string[]) => lines.filter((line) => line.startsWith('-A ufw-user-')).length
  const words = summary('not in the kernel, though ufw has it', lost)
  if (words.length === 0 && count(file) !== count(kernel)) {
    words.push(`the kernel has ${count(kernel)} rules, ufw's file ${count(file)}`)
  }
  for (const chain of ['INPUT', 'FORWARD']) {
    if (!kernel.includes(`-P ${chain} DROP`)) words.push(`the kernel's ${chain} policy is not DROP`)
    if (!kernel.includes(`-A ${chain} -j ufw-before-${chain.toLowerCase()}`)) {
      words.push(`the kernel's ${chain} chain does not pass through ufw`)
    }
  }
  if (kernel6.length > 0 && !kernel6.includes('-P INPUT DROP')) {
    words.push("the kernel's INPUT policy for IPv6 is not DROP")
  }
  return words
}

const key = (chain: string, nic: string, from: string, to: string, protocol: string, port: string) =>
  [chain, nic, from.replace(/\/32$/, ''), to.replace(/\/32$/, ''), protocol, port, 'ACCEPT'].join(' ')

const ruleKey = ({ routed, nic, from, to, port }: Rule): string => {
  const [ports = '', protocol = ''] = port.split('/')
  return key(routed ? 'ufw-user-forward' : 'ufw-user-input', nic, from, to, protocol, ports)
}

const kernelKey = (line: string): string => {
  const option = (name: string) => new RegExp(`(?:^| )${name} (\\S+)`).exec(line)?.[1] ?? ''
  const words = key(option('-A'), option('-i'), option('-s'), option('-d'), option('-p'), option('--dports?'))
  return option('-j') === 'ACCEPT' && !line.includes(' ! ') ? words : line
}

/** Reads what `stateScript` printed. */
export const parseState = (text: string): State => {
  const sections = new Map<string, string[]>()
  let section: string[] = []
  for (const line of text.split('\n')) {
    if (line.startsWith('# ')) sections.set(line.slice(2), (section = []))
    else if (line !== '') section.push(line)
  }
  const lines = (name: string) => sections.get(name) ?? []
  const setting = (name: string) => {
    const line = lines('settings').findLast((one) => one.startsWith(`${name}=`)) ?? ''
    return line.slice(name.length + 1).replaceAll('"', '')
  }
  const [from = '', , , port = ''] = lines('ssh').join(' ').split(' ')
  if (!/^[0-9a-f.:]+$/i.test(from) || !/^\d+$/.test(port)) {
    throw new Error('the node does not say where the ssh connection comes from (SSH_CONNECTION)')
  }
  const [nic = ''] = lines('nic')
  if (!/^[\w.-]*$/.test(nic)) throw new Error(`the NIC is called ${quoted(nic)}: no shell may get such a name`)
  return {
    nic,
    ssh: { from: from.toLowerCase(), port },
    listening: lines('listening'),
    installed: lines('installed').length > 0,
    enabled: setting('ENABLED').toLowerCase() === 'yes',
    starts: lines('service')[0] === 'enabled',
    unconfirmed: lines('unconfirmed').length > 0,
    defaults: { incoming: setting('DEFAULT_INPUT_POLICY'), routed: setting('DEFAULT_FORWARD_POLICY') },
    added: parseAdded(lines('added').join('\n')),
    file: lines('file'),
    kernel: lines('kernel'),
    kernel6: lines('kernel6')
  }
}
