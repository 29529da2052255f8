import { GenericContainer, Wait } from 'testcontainers'
import type { ContainerInspectInfo } from 'dockerode'
import type { Machine } from './containers.mts'
import type { Engine } from './engine.mts'
import { capture } from './exec.mts'
import type { Images } from './images.mts'
import { networks } from './networks.mts'
import { label } from './place.mts'
import { containerName, recipe, stampOf, type Ingredients, type Recipe } from './recipe.mts'

/** What every machine is made from. */
export type Parts = Ingredients & { engine: Engine; images: Images }

/** testcontainers has no option for a fixed address, nor for the cgroup namespace: this reaches what it passes on. */
class LabContainer extends GenericContainer {
  private readonly engine: Engine
  private readonly machine: Machine

  constructor(image: string, engine: Engine, machine: Machine, { create, host, files }: Recipe) {
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
      .withWaitStrategy(Wait.forSuccessfulCommand('true'))
  }

  protected override async containerCreated(id: string): Promise<void> {
    if (!this.machine.public) return
    const network = this.engine.container.dockerode.getNetwork(networks.private.name)
    await network.connect({ Container: id, EndpointConfig: { IPAMConfig: { IPv4Address: this.machine.private } } })
  }
}

/**
 * Waits until a machine does what it is there for. Inside the container: eight machines asked ten times a second from
 * outside would slow one another's boot. Apart from testcontainers' own start, which removes what does not get ready,
 * and the evidence with it.
 */
export const untilReady = async (engine: Engine, machine: Machine): Promise<void> => {
  const loop = `for try in $(seq 150); do { ${machine.ready}; } >/dev/null 2>&1 && exit; sleep 0.2; done; exit 1`
  const container = engine.container.getById(containerName(machine))
  try {
    await Wait.forSuccessfulCommand(loop).withStartupTimeout(120_000).waitUntilReady(container)
  } catch (error) {
    const runs = (await inspect(engine, machine))?.State.Running === true
    throw new Error(
      `it ${runs ? `runs but is not ready after two minutes: ${machine.ready}` : 'ended by itself'}. Look with` +
        ` \`docker logs ${containerName(machine)}\` and \`npm run lab -- shell ${machine.name}\`.`,
      { cause: error }
    )
  }
}

/**
 * Waits until sshd of these nodes answers the bastion, three times in a row. A node that was here before may still hold its
 * addresses, and Docker gives the new one the same MAC: packets then go to the one that spoke last.
 */
export const untilReached = async ({ container: { dockerode: docker } }: Engine, bastion: Machine, nodes: Machine[]): Promise<void> => {
  const loop = `end=$((SECONDS + 120)); good=0
while ((good < 3)); do
  silent=
  for node in ${nodes.map(({ private: address }) => address).join(' ')}; do
    [[ $(timeout 2 bash -c "head -c 4 < /dev/tcp/$node/22" 2>/dev/null) == SSH- ]] || silent+=" $node"
  done
  if [[ $silent ]]; then good=0; else good=$((good + 1)); fi
  if ((SECONDS > end)); then echo "$silent"; exit 1; fi
  sleep 0.3
done`
  const { exitCode, stdout } = await capture(docker, bastion, ['bash', '-c', loop])
  if (exitCode !== 0) throw new Error(`no sshd answers the bastion within two minutes at${stdout.trimEnd()}`)
}

/**
 * Restarts a running machine that is no node and not ready. git and editors replace settings.yaml by renaming, which takes
 * the lab's settings off it in the bastion, and the scripts would go by the project's own: a restart mounts them again.
 */
export const mend = async (engine: Engine, machine: Machine): Promise<void> => {
  const docker = engine.container.dockerode
  const { exitCode } = await capture(docker, machine, ['sh', '-c', machine.ready])
  if (exitCode === 0) return
  await docker.getContainer(containerName(machine)).restart({ t: 0 })
  await untilReady(engine, machine)
}

const stampLabel = 'io.keybuzz.lab.stamp'

const inspect = async ({ container: { dockerode: docker } }: Engine, machine: Machine) =>
  docker.getContainer(containerName(machine)).inspect().catch((): ContainerInspectInfo | undefined => undefined)

/** How a machine was found: running as wanted, started again, made new, or running but made from older inputs. */
export type Found = 'running' | 'started' | 'new' | 'older'

/**
 * What is made of the container that Docker has for a machine. One that never ran may lack its files, and one whose
 * removal was cut short (the engine died) never starts again: these are made anew. A node that was made from older
 * inputs stays as it is: it holds a cluster's data.
 */
export const foundAs = (there: ContainerInspectInfo | undefined, image: Machine['image'], stamp: string): Found => {
  if (!there || there.State.Dead || there.State.StartedAt.startsWith('0001-')) return 'new'
  const same = there.Config.Labels[stampLabel] === stamp
  if (!same && image !== 'node') return 'new'
  if (!there.State.Running) return 'started'
  return same ? 'running' : 'older'
}

/** Brings one machine up, and tells how it was found. */
export const boot = async (machine: Machine, parts: Parts): Promise<Found> => {
  const { engine, images } = parts
  const docker = engine.container.dockerode
  const image = images[machine.image]
  const wanted = await recipe(machine, parts)
  const stamp = stampOf(wanted, image)
  const there = await inspect(engine, machine)
  const found = foundAs(there, machine.image, stamp)
  if (found === 'running' && machine.image !== 'node') {
    await mend(engine, machine)
    return found
  }
  if (found === 'started') await docker.getContainer(containerName(machine)).start()
  if (found === 'new') {
    if (there) await (there.State.Dead ? remove : removeContainer)(engine, machine)
    for (const { name } of machine.volumes ?? []) await docker.createVolume({ Name: `keybuzz-${name}`, Labels: label })
    wanted.create.Labels = { ...label, [stampLabel]: stamp }
    await new LabContainer(image, engine, machine, wanted).start()
  }
  await untilReady(engine, machine)
  return found
}

/**
 * Takes a machine's power away, its wires first: so its peers hear no word of goodbye. And the kernel keeps a dead
 * container's network, for up to two minutes, until the last of its connections is given up: with its wires it would
 * answer in the place of the next container with these addresses.
 */
export const powerOff = async ({ container: { dockerode: docker } }: Engine, machine: Machine): Promise<void> => {
  const cut = 'for nic in /sys/class/net/*; do ip link set "${nic##*/}" down; done'
  await capture(docker, machine, ['sh', '-c', cut]).catch(ignoreGone)
  await docker.getContainer(containerName(machine)).kill().catch(ignoreGone)
}

const removeContainer = async (engine: Engine, machine: Machine): Promise<void> => {
  await powerOff(engine, machine)
  await engine.container.dockerode.getContainer(containerName(machine)).remove({ force: true }).catch(ignoreMissing)
}

/** Removes a machine with its volumes. */
export const remove = async (engine: Engine, machine: Machine): Promise<void> => {
  const { dockerode: docker } = engine.container
  await removeContainer(engine, machine)
  for (const { name } of machine.volumes ?? []) await docker.getVolume(`keybuzz-${name}`).remove().catch(ignoreMissing)
}

/** Takes these answers of Docker for success. */
export const ignore = (...codes: number[]) => (error: unknown): void => {
  if (!(error instanceof Error && 'statusCode' in error && codes.includes(Number(error.statusCode)))) throw error
}

/** Docker answers 404 for what is not there. */
export const ignoreMissing = ignore(404)

// And 409 for what does not run.
const ignoreGone = ignore(404, 409)
