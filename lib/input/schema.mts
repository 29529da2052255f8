import { z } from 'zod'
import { isSchedule } from '../base/cron.mts'
import { formatCidr, isLoopback, isPrivate, isUnicast, parseAddress, parseCidr } from '../base/ipv4.mts'
import { isDomain, isHostname } from '../base/names.mts'

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

/** Hetzner's load balancers can do the first in TCP mode, the second in HTTP mode. */
const CLIENT_ADDRESS = ['proxy-protocol', 'x-forwarded-for', 'none'] as const

const IMAGE = /^[a-z0-9][a-z0-9.-]*(:\d+)?(\/[a-z0-9][a-z0-9._-]*)+:[\w][\w.-]{0,127}(@sha256:[0-9a-f]{64})?$/

const isReplicas = (value: unknown) => value === 'every-node' || z.int().min(2).max(100).safeParse(value).success

const isFolder = (value: string) => /^(\/[\w.+@-]+)+$/.test(value) && !/\/\.\.?(\/|$)/.test(value)

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

/** The file settings.yaml, with the default of every key. */
export const schema = z.preprocess((value) => value ?? {}, z.strictObject({
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
    etcd_args: args(etcdRemedy).default(['heartbeat-interval=200', 'election-timeout=2000']),
    system_reserved: resources().default('cpu=200m,memory=512Mi'),
    kube_reserved: resources().default('cpu=200m,memory=512Mi'),
    server_taint: z.boolean({ error: 'true or false' }).default(true)
  }),
  addons: section({
    dns_replicas: z.custom<'every-node' | number>(isReplicas, {
      error: 'every-node, or a whole number from 2 to 100: with one, its node takes all names along'
    }).default('every-node'),
    outside_name: text('a domain name such as one.one.one.one', isDomain).default('one.one.one.one'),
    metrics_replicas: integer(2, 10, 'replicas').default(2),
    volumes: section({
      path: text('the absolute path of a folder on the workers, not /', isFolder)
        .default('/var/lib/rancher/k3s/storage'),
      mounted: z.boolean({ error: 'true or false' }).default(false)
    })
  }),
  ingress: section({
    image: text('an image with a tag, such as docker.io/nginx/nginx-ingress:5.5.4', (value) => IMAGE.test(value))
      .default('docker.io/nginx/nginx-ingress:5.5.4'),
    client_address: z.enum(CLIENT_ADDRESS, { error: `one of ${CLIENT_ADDRESS.join(', ')}` }).default('x-forwarded-for'),
    certificate: text("the absolute path of a PEM file on the bastion, or ''", (value) => /^(\/[\w./+@-]*)?$/.test(value))
      .default(''),
    health_check: section({
      path: text('a path such as /healthz', (value) => /^\/[\w./~-]{1,200}$/.test(value)).default('/healthz'),
      host: text("a domain name, or '' for none", (value) => value === '' || isDomain(value)).default(''),
      interval: integer(1, 60, 'seconds').default(15),
      timeout: integer(1, 60, 'seconds').default(10),
      retries: integer(1, 10, 'failures in a row').default(3)
    })
  }),
  capacity: section({
    lost_workers: integer(0, 100, 'workers').default(1),
    pods: integer(1, 100_000, 'pods').default(1000),
    cpus: number(0.1, 100_000, 'CPUs').default(24),
    memory: number(0.1, 1_000_000, 'GiB').default(48)
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
