import { z } from 'zod'
import { isSchedule } from './cron.mts'
import { type Fault, UsageError } from './errors.mts'
import {
  addresses, contains, formatCidr, isEdge, isLoopback, isPrivate, isUnicast, overlap, parseAddress, parseCidr
} from './ipv4.mts'
import { isDomain, isHostname } from './names.mts'
import { closest } from './words.mts'
import { type Path, readYaml, type Yaml } from './yaml.mts'

// The message of each schema completes "expected ...". What to do about it comes from `remedy`, unless said here.

const integer = (least: number, most: number, unit = '') => {
  const error = `a whole number from ${least} to ${most}${unit && ` (${unit})`}`
  return z.int({ error }).min(least, { error }).max(most, { error })
}

const number = (least: number, most: number, unit: string) => {
  const error = `a number from ${least} to ${most} (${unit})`
  return z.number({ error }).min(least, { error }).max(most, { error })
}

const text = (error: string, holds: (value: string) => boolean) => z.string({ error }).refine(holds, { error })

// `ssh:` with every key below it commented out reads as null, and means the defaults.
const section = <Shape extends z.ZodRawShape>(shape: Shape) =>
  z.preprocess((value) => value ?? {}, z.strictObject(shape, { error: 'keys with values, indented below it' }))
    .prefault({})

const TWICE = 'Delete one of the two.'

const list = <Item extends z.ZodType>(item: Item, least: number, most: number, of: string) => {
  const error = `a list of ${least === 0 ? 'at most' : `${least} to`} ${most} ${of}`
  return z.array(item, { error }).min(least, { error }).max(most, { error }).superRefine((items, context) => {
    for (const [index, value] of items.entries()) {
      if (items.indexOf(value) === index) continue
      context.addIssue({ code: 'custom', path: [index], message: 'each one once', params: { remedy: TWICE } })
    }
  })
}

const address = () => text('an IPv4 address that a server can have', (value) => isUnicast(parseAddress(value) ?? 0))

const nameserver = () =>
  text('an IPv4 address', (value) => parseAddress(value) !== undefined).refine(
    (value) => !isLoopback(parseAddress(value) ?? 0),
    {
      error: 'an address that is not loopback: CoreDNS would ask itself, in a loop',
      params: { remedy: 'Name the resolvers themselves, such as 1.1.1.1.' }
    }
  )

const port = () => integer(1, 65535)

const cidr = (least: number, most: number, example: string) =>
  text(`a network such as ${example}, /${least} to /${most}, without host bits`, (value) => {
    const network = parseCidr(value)
    return network !== undefined && formatCidr(network) === value && network.prefix >= least && network.prefix <= most
  })

const VERSION = /^v\d{1,2}\.\d{1,3}\.\d{1,3}(-rc\d{1,2})?\+k3s\d{1,2}(-lab)?$/

const QUANTITY = '\\d{1,12}(\\.\\d{1,3})?(m|k|M|G|T|Ki|Mi|Gi|Ti)?'
const RESOURCE = `(cpu|memory|ephemeral-storage|pid)=${QUANTITY}`
const RESOURCES = new RegExp(`^(${RESOURCE}(,${RESOURCE})*)?$`)

const resources = () =>
  text("what the kubelet takes, such as 'cpu=200m,memory=512Mi'", (value) => RESOURCES.test(value))

/** Checksums come from the same place as the files, so the way there must be authentic. */
const isReleaseUrl = (value: string) => {
  if (!/^https?:\/\/[\w.:/~%+-]+$/.test(value) || !URL.canParse(value)) return false
  const { protocol, hostname } = new URL(value)
  return protocol === 'https:' || hostname === '127.0.0.1'
}

/** Kubelet arguments that the scripts and K3s set, and where each comes from. */
const OUR_KUBELET_ARGS: Record<string, string> = {
  'max-pods': 'Use k3s.max_pods.',
  'system-reserved': 'Use k3s.system_reserved.',
  'kube-reserved': 'Use k3s.kube_reserved.',
  'cluster-dns': 'Use network.cluster_dns.',
  'cluster-domain': 'Use network.cluster_domain.',
  'resolv-conf': 'Use network.nameservers.',
  'node-ip': 'It is IP_PRIVEE in servers.tsv.',
  'hostname-override': 'It is HOSTNAME in servers.tsv.',
  'node-labels': 'The pool comes from DOCKER_STACK in servers.tsv, or from pools.',
  'register-with-taints': 'Taints come from the pool, and from k3s.server_taint.',
  'protect-kernel-defaults': 'It is always on; the sysctls that it asks for are set.',
  'container-runtime-endpoint': 'K3s brings its own containerd.',
  kubeconfig: 'K3s writes it.',
  config: 'K3s writes it.',
  'config-dir': 'K3s writes it.'
}

/** etcd's member identity, addresses and certificates are K3s's own; changing one breaks the member. */
const OUR_ETCD_ARG = /^(name|data-dir|wal-dir|config-file|force-new-cluster|(listen|initial|advertise|discovery)-.+)$/
const ETCD_TLS_ARG = /(cert|key|ca)-file$|(^|-)client-cert-auth$|^(peer-)?auto-tls$/

const ARGUMENT = /^[a-z][a-z0-9-]{0,62}=[\w.,:%/<=+@-]{1,500}$/

const nameOf = (argument: string) => argument.slice(0, argument.indexOf('='))

const args = (remedyOf: (name: string) => string | undefined) => {
  const error = "key=value without the leading dashes and without blanks, such as 'image-gc-high-threshold=80'"
  const argument = text(error, (value) => ARGUMENT.test(value)).superRefine((value, context) => {
    const remedy = remedyOf(nameOf(value))
    if (remedy === undefined) return
    context.addIssue({ code: 'custom', message: 'an argument that nothing else sets', params: { remedy } })
  })
  return z.array(argument, { error: 'a list of key=value' }).superRefine((values, context) => {
    for (const [index, value] of values.entries()) {
      if (values.findIndex((other) => nameOf(other) === nameOf(value)) === index) continue
      context.addIssue({ code: 'custom', path: [index], message: 'each argument once', params: { remedy: TWICE } })
    }
  })
}

const kubeletRemedy = (name: string) => (Object.hasOwn(OUR_KUBELET_ARGS, name) ? OUR_KUBELET_ARGS[name] : undefined)

const etcdRemedy = (name: string) =>
  OUR_ETCD_ARG.test(name) || ETCD_TLS_ARG.test(name) ? 'Delete it: K3s manages the member itself.' : undefined

const PACKAGE = /^[a-z0-9][a-z0-9+.-]{1,80}$/

const machine = (cpus: number, memory: number, disk: number) =>
  section({
    cpus: integer(1, 1024).default(cpus),
    memory: number(0.1, 100_000, 'GiB').default(memory),
    disk: number(0.1, 1_000_000, 'GiB').default(disk)
  })

const POOLS = ['general', 'heavy', 'observability', 'reserve'] as const

/** The roles that the five workers have in the document. */
const DOCUMENTED_POOLS = {
  'k3s-worker-01': 'general',
  'k3s-worker-02': 'general',
  'k3s-worker-03': 'heavy',
  'k3s-worker-04': 'observability',
  'k3s-worker-05': 'reserve'
} as const

const pools = () =>
  z.record(z.string().refine(isHostname), z.enum(POOLS, { error: `one of ${POOLS.join(', ')}` }), {
    error: (issue) => (issue.code === 'invalid_key' ? 'a HOSTNAME of servers.tsv before the colon' : 'hostname: pool')
  })

/** flannel gives each node a /24: its network, bridge and broadcast addresses are no pod's. */
const MOST_PODS = 253

const schema = z.preprocess((value) => value ?? {}, z.strictObject({
  environment: text('a name of letters, digits, "-" and "_"', (value) => /^[A-Za-z0-9][\w-]{0,62}$/.test(value))
    .default('prod'),
  ssh: section({
    connect_timeout: integer(1, 600, 'seconds').default(10),
    parallel: integer(1, 256, 'hosts').default(16),
    port: port().default(22)
  }),
  network: section({
    private_cidr: cidr(8, 30, '10.0.0.0/16').refine((value) => isPrivate(parseCidr(value) ?? { base: 0, prefix: 0 }), {
      error: 'a private network: all of it may reach the API, etcd and the kubelets',
      params: { remedy: 'Name the network that IP_PRIVEE comes from, such as 10.0.0.0/16.' }
    }).default('10.0.0.0/16'),
    nameservers: list(nameserver(), 1, 3, 'IPv4 addresses').default(['1.1.1.1', '8.8.8.8']),
    mtu: integer(1280, 9000, 'bytes').default(1450),
    cluster_cidr: cidr(8, 24, '10.42.0.0/16').default('10.42.0.0/16'),
    service_cidr: cidr(12, 24, '10.43.0.0/16').default('10.43.0.0/16'),
    cluster_dns: text('an IPv4 address', (value) => parseAddress(value) !== undefined).default('10.43.0.10'),
    cluster_domain: text('a domain name of two labels or more, in lower case', isDomain).default('cluster.local')
  }),
  load_balancers: section({
    api: section({
      address: address().default('10.0.0.10'),
      port: port().default(6443),
      names: list(
        text('a domain name or an IPv4 address', (value) => isDomain(value) || parseAddress(value) !== undefined),
        0, 32, 'names'
      ).default([])
    }),
    http: list(address(), 0, 16, 'IPv4 addresses').default(['10.0.0.5', '10.0.0.6'])
  }),
  k3s: section({
    version: text('a K3s release such as v1.36.5+k3s1', (value) => VERSION.test(value)).default('v1.36.5+k3s1'),
    release_url: text('an https address without user, query or fragment', isReleaseUrl)
      .default('https://github.com/k3s-io/k3s/releases/download'),
    artifacts: text("the absolute path of a folder, or ''", (value) => /^(\/[\w./+@-]*)?$/.test(value)).default(''),
    max_pods: integer(1, MOST_PODS, "pods: a node's /24 has no more addresses").default(250),
    kubelet_args: args(kubeletRemedy).default([]),
    etcd_args: args(etcdRemedy).default([]),
    system_reserved: resources().default('cpu=200m,memory=512Mi'),
    kube_reserved: resources().default('cpu=200m,memory=512Mi'),
    server_taint: z.boolean({ error: 'true or false' }).default(true)
  }),
  snapshots: section({
    schedule: text("five cron fields such as '0 */6 * * *', or @hourly, @daily, @weekly", isSchedule)
      .default('0 */6 * * *'),
    retention: integer(1, 1000, 'snapshots').default(28)
  }),
  audit: section({
    max_age_days: integer(1, 3650, 'days').default(30),
    max_backups: integer(1, 1000, 'files').default(10),
    max_size_mb: integer(1, 10_000, 'MB').default(100)
  }),
  prepare: section({
    packages: list(text('the name of a Debian package', (value) => PACKAGE.test(value)), 0, 100, 'packages')
      .default(['ca-certificates', 'conntrack', 'e2fsprogs', 'ethtool', 'iptables', 'kmod', 'python3', 'ufw']),
    clock_skew: number(0.01, 60, 'seconds').default(1),
    etcd_fsync_p99: number(0.1, 10_000, 'ms').default(25),
    server: machine(2, 3.5, 20),
    agent: machine(2, 3.5, 20)
  }),
  pools: pools().default(DOCUMENTED_POOLS)
}, { error: 'keys with values' }))

/** Every setting, complete: what the file leaves out has its default. */
export type Settings = z.output<typeof schema>

/** The settings of an empty file. */
export const defaultSettings = (): Settings => schema.parse({})

type Problem = { path: Path; expected: string; remedy?: string | undefined; key?: boolean }

/** A rule between several settings: `path` is to blame, and the rule says nothing where one of `uses` is faulty. */
type Conflict = Problem & { uses: Path[] }

const textOf = (path: Path) =>
  path.map((key, index) => (typeof key === 'number' ? `[${key}]` : `${index === 0 ? '' : '.'}${key}`)).join('')

const valueAt = (data: unknown, path: Path): unknown =>
  path.reduce<unknown>((value, key) => (value as Record<string, unknown> | undefined | null)?.[String(key)], data)

const PRIVATE: Path = ['network', 'private_cidr']
const CLUSTER: Path = ['network', 'cluster_cidr']
const SERVICE: Path = ['network', 'service_cidr']
const DNS: Path = ['network', 'cluster_dns']

const networkOf = (settings: Settings, path: Path) =>
  parseCidr(String(valueAt(settings, path))) ?? { base: 0, prefix: 0 }

const overlaps = (settings: Settings): Conflict[] =>
  ([[PRIVATE, CLUSTER], [PRIVATE, SERVICE], [CLUSTER, SERVICE]] as const)
    .filter(([first, second]) => overlap(networkOf(settings, first), networkOf(settings, second)))
    .map(([first, second]) => ({
      path: second, uses: [first, second],
      expected: `a network apart from ${textOf(first)} ${formatCidr(networkOf(settings, first))}`,
      remedy: 'Choose networks that share no address.'
    }))

const dnsConflicts = (settings: Settings): Conflict[] => {
  const services = networkOf(settings, SERVICE)
  const dns = parseAddress(settings.network.cluster_dns) ?? 0
  const first = services.base + 1
  if (contains(services, dns) && !isEdge(services, dns) && dns !== first) return []
  return [{
    path: DNS, uses: [SERVICE, DNS],
    expected: `an address inside network.service_cidr ${formatCidr(services)}, not its first (the API's) or last`,
    remedy: 'Choose one in it; by custom the tenth.'
  }]
}

const outsidePrivate = (settings: Settings): Conflict[] => {
  const network = networkOf(settings, PRIVATE)
  const paths: Path[] = [
    ['load_balancers', 'api', 'address'],
    ...settings.load_balancers.http.map((_, index) => ['load_balancers', 'http', index])
  ]
  return paths
    .filter((path) => !contains(network, parseAddress(String(valueAt(settings, path))) ?? 0))
    .map((path) => ({
      path, uses: [PRIVATE, path.slice(0, typeof path.at(-1) === 'number' ? -1 : undefined)],
      expected: `an address inside network.private_cidr ${formatCidr(network)}`,
      remedy: 'Name the private address of the load balancer, or correct network.private_cidr.'
    }))
}

const nameserversInside = (settings: Settings): Conflict[] =>
  settings.network.nameservers.flatMap((server, index) =>
    [CLUSTER, SERVICE]
      .filter((path) => contains(networkOf(settings, path), parseAddress(server) ?? 0))
      .map((path) => ({
        path: ['network', 'nameservers', index], uses: [path, ['network', 'nameservers']],
        expected: `an address outside ${textOf(path)}: nodes need names before the cluster runs`,
        remedy: 'Name a resolver outside the cluster.'
      })))

const ETCD_DEFAULTS = { 'heartbeat-interval': 500, 'election-timeout': 5000 }

/** etcd refuses to start otherwise (etcd: server/embed/config.go). The defaults are K3s's. */
const electionTooShort = (settings: Settings): Conflict[] => {
  const values = new Map(settings.k3s.etcd_args.map((argument) => argument.split('=') as [string, string]))
  const of = (name: keyof typeof ETCD_DEFAULTS) => Number(values.get(name) ?? ETCD_DEFAULTS[name])
  if (of('election-timeout') >= 5 * of('heartbeat-interval')) return []
  return [{
    path: ['k3s', 'etcd_args'], uses: [['k3s', 'etcd_args']],
    expected: `an election-timeout of at least five times the heartbeat-interval of ${of('heartbeat-interval')} (ms)`,
    remedy: 'Set both; etcd does not start otherwise.'
  }]
}

const conflicts = (settings: Settings): Conflict[] =>
  [overlaps, dnsConflicts, outsidePrivate, nameserversInside, electionTooShort].flatMap((rule) => rule(settings))

const keysOf = (value: unknown): string[] =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? Object.keys(value) : []

/** The sections that have a key of that name. */
const homeOf = (name: string, here: unknown = defaultSettings(), path: Path = []): Path[] =>
  keysOf(here).flatMap((key) => [
    ...(key === name && path.length > 0 ? [path] : []),
    ...homeOf(name, valueAt(here, [key]), [...path, key])
  ])

const unknownKey = (path: Path, key: string): Problem => {
  const siblings = keysOf(valueAt(defaultSettings(), path))
  const near = closest(key, siblings)
  const homes = homeOf(key).map(textOf)
  const remedy = near ? `Did you mean ${near}?`
    : homes.length > 0 ? `It belongs under ${homes.join(' or ')}.`
      : `The keys here are ${siblings.join(', ')}.`
  return { path: [...path, key], expected: 'a key that is known', remedy, key: true }
}

const toProblems = (issue: z.core.$ZodIssue): Problem[] => {
  const path = issue.path.filter((key) => typeof key !== 'symbol')
  if (issue.code === 'unrecognized_keys') return issue.keys.map((key) => unknownKey(path, key))
  return [{ path, expected: issue.message, remedy: issue.code === 'custom' ? issue.params?.['remedy'] : undefined }]
}

const startsWith = (path: Path, start: Path) => start.every((key, index) => path[index] === key)

/** The first problem of each path. */
const firstOfEach = (problems: Problem[]) =>
  problems.filter(({ path }, index) => problems.findIndex((other) => textOf(other.path) === textOf(path)) === index)

/** The data without the values that are faulty, so that the rest can be judged. */
const without = (data: unknown, problems: Problem[]): unknown => {
  const copy: unknown = structuredClone(data)
  for (const { path } of problems) {
    // A list is judged as a whole: without one item the others would move.
    const index = path.findIndex((key) => typeof key === 'number')
    const whole = index < 0 ? path : path.slice(0, index)
    const parent = valueAt(copy, whole.slice(0, -1))
    if (typeof parent === 'object' && parent !== null) Reflect.deleteProperty(parent, String(whole.at(-1)))
  }
  return copy
}

const judge = (data: unknown): { settings?: Settings; problems: Problem[] } => {
  const result = schema.safeParse(data)
  const problems = result.success ? [] : firstOfEach(result.error.issues.flatMap(toProblems))
  const rest = result.success ? result : schema.safeParse(without(data, problems))
  if (!rest.success) return { problems }
  const isFaulty = (path: Path) => problems.some((problem) => startsWith(problem.path, path))
  const more = conflicts(rest.data).filter(({ uses }) => !uses.some(isFaulty))
  const all = [...problems, ...more]
  return all.length > 0 ? { problems: all } : { settings: rest.data, problems: [] }
}

const defaultRemedy = (path: Path): string => {
  const index = path.findIndex((key) => typeof key === 'number')
  if (index >= 0) return 'Correct the item, or delete it.'
  const value = valueAt(defaultSettings(), path)
  if (value === undefined) return 'Correct the value.'
  if (keysOf(value).length > 0) return `The keys below it are ${keysOf(value).join(', ')}.`
  const shown = typeof value === 'string' && value !== '' ? value : JSON.stringify(value)
  return `Correct the value, or delete the key to get the default ${shown}.`
}

const toFault = (file: string, yaml: Yaml, problem: Problem & { uses?: Path[] }): Fault => {
  const { path, expected, key, uses = [] } = problem
  const place = key ? yaml.keyPlace(path) : yaml.place(path)
  const line = place?.line ?? uses.map((use) => yaml.place(use)?.line).find((found) => found !== undefined)
  const written = { what: textOf(path) || 'file', ...(key || !place ? {} : { value: place.value }) }
  // A rule between two settings may blame one that the file leaves out.
  const left = { what: `${textOf(path)} (default)`, value: String(valueAt(defaultSettings(), path)) }
  return {
    file, ...(line === undefined ? {} : { line }), ...(place || key ? written : left),
    expected, remedy: problem.remedy ?? defaultRemedy(path)
  }
}

/**
 * Reads settings.yaml. Every key may be left out and has its default then; an unknown or repeated key is a fault.
 * Throws a UsageError that holds all faults of the file, each with its line.
 */
export const readSettings = async (file: string): Promise<Settings> => {
  const yaml = await readYaml(file)
  const { settings, problems } = judge(yaml.data)
  const faults = [...yaml.faults, ...problems.map((problem) => toFault(file, yaml, problem))]
  if (!settings || faults.length > 0) {
    throw new UsageError(faults.toSorted((a, b) => (a.line ?? 0) - (b.line ?? 0)))
  }
  return settings
}
