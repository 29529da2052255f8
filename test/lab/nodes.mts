import { ignore, mend, powerOff, remove, untilReady } from './boot.mts'
import { backends, bastion as bastionMachine, machine, nodes as allNodes, vault } from './containers.mts'
import { engine as reachEngine, type Docker, type Engine } from './engine.mts'
import { capture, start as begin, type ExecOptions, type Result, type Running } from './exec.mts'
import { down } from './down.mts'
import { locked } from './lock.mts'
import { createProgress } from './progress.mts'
import { containerName } from './recipe.mts'
import { bootAll, gather, up, type Lab } from './up.mts'
import { unsealVault } from './vault.mts'

export type { ExecOptions, Result, Running } from './exec.mts'

let reached: Promise<Engine> | undefined

const engine = (): Promise<Engine> => (reached ??= reachEngine(createProgress()))
const docker = async (): Promise<Docker> => (await engine()).container.dockerode

/** Runs a script on a machine of the lab as root, under bash and past ssh: for what a test arranges and looks at. */
export const exec = async (name: string, script: string, options: ExecOptions = {}): Promise<Result> =>
  capture(await docker(), machine(name), ['bash', '-c', script], options)

const settled = async (): Promise<Docker> => {
  await mend(await engine(), bastionMachine)
  return docker()
}

/** Starts a program in the bastion, in the project's folder; the result tells how it ended and can signal it. */
export const bastionStart = async (argv: string[], options: ExecOptions = {}): Promise<Running> =>
  begin(await settled(), bastionMachine, argv, options)

/** Runs a program in the bastion's project folder to its end: `bastion(['./09_k3s_01_prepare.mts', '--yes'])`. */
export const bastion = async (argv: string[], options: ExecOptions = {}): Promise<Result> =>
  capture(await settled(), bastionMachine, argv, options)

/** Takes a machine's power away. */
export const kill = async (name: string): Promise<void> => powerOff(await engine(), machine(name))

/** Gives a machine its power back and waits until it is up; its disks are as they were. */
export const start = async (name: string): Promise<void> => {
  const one = machine(name)
  await (await docker()).getContainer(containerName(one)).start().catch(ignore(304)) // which says that it runs already
  await untilReady(await engine(), one)
}

/** Unseals Vault, as operators do after each of its starts. */
export const unseal = async (): Promise<void> => unsealVault(await engine())

/** A power failure and what follows: the machine is killed and started. */
export const restart = async (name: string): Promise<void> => {
  await kill(name)
  await start(name)
}

/**
 * Makes machines anew as bare as `up` made them: containers and volumes. By default every node, the bastion's home, the
 * stateful services and Vault: databases whose keys the bastion has no more are refused. Addresses and host keys stay, so
 * known_hosts is still right.
 */
export const reset = (names: string[] = [bastionMachine, ...backends, vault, ...allNodes].map(({ name }) => name)): Promise<void> =>
  locked(() => undefined, async () => {
    const progress = createProgress({ terminal: false })
    const some = names.map(machine)
    const there = await engine()
    await Promise.all(some.map((one) => remove(there, one)))
    await bootAll(some, await gather(there, progress), progress)
    if (names.includes(vault.name)) await unsealVault(there)
  })

/** Brings the lab up; a moment where it is. */
export const labUp = (options: Parameters<typeof up>[1] = {}): Promise<Lab> => up(createProgress(), options)

/** Takes the lab away. */
export const labDown = (): Promise<void> => down(createProgress())
