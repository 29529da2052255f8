import { mend, remove, untilReady } from './boot.mts'
import { bastion as bastionMachine, machine, nodes as allNodes, type Machine } from './containers.mts'
import { engine as reachEngine, type Docker, type Engine } from './engine.mts'
import { capture, start as begin, type ExecOptions, type Result, type Running } from './exec.mts'
import { down } from './down.mts'
import { locked } from './lock.mts'
import { createProgress } from './progress.mts'
import { containerName } from './recipe.mts'
import { bootAll, gather, up, type Lab } from './up.mts'

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
export const kill = async (name: string): Promise<void> => {
  await (await docker()).getContainer(containerName(machine(name))).kill()
}

/** Gives a machine its power back and waits until it is up; its disks are as they were. */
export const start = async (name: string): Promise<void> => {
  const one = machine(name)
  await (await docker()).getContainer(containerName(one)).start().catch(ignoreNotModified)
  await untilReady(await engine(), machine(name))
}

/** A power failure and what follows: the machine is killed and started. */
export const restart = async (name: string): Promise<void> => {
  await (await docker()).getContainer(containerName(machine(name))).restart({ t: 0 })
  await untilReady(await engine(), machine(name))
}

/** Docker answers 304 where a container runs already. */
const ignoreNotModified = (error: unknown): void => {
  if (!(error instanceof Error && 'statusCode' in error && error.statusCode === 304)) throw error
}

/**
 * Makes machines anew as bare as `up` made them: containers and volumes. By default every node and the bastion's home.
 * Addresses and host keys stay, so known_hosts is still right.
 */
export const reset = (names: string[] = [bastionMachine, ...allNodes].map(({ name }) => name)): Promise<void> =>
  locked(() => undefined, async () => {
    const progress = createProgress(false)
    const some = names.map(machine)
    const there = await engine()
    await Promise.all(some.map((one) => remove(there, one)))
    await bootAll(some, await gather(there, progress), progress)
    await Promise.all(some.filter(({ image }) => image === 'node').map(answersSsh))
  })

// The kernel takes away the networks of removed containers, and of the pods in them, one by one; until its turn comes, an
// old one answers in the new one's place, with nobody listening. After a whole cluster that can take a minute.
const answersSsh = async ({ name, private: address }: Machine): Promise<void> => {
  const { exitCode } = await exec('resolver', `good=0
for try in $(seq 600); do
  if nc -zw1 ${address} 22; then good=$((good + 1)); else good=0; fi
  ((good < 10)) || exit 0
  sleep 0.3
done
exit 1`)
  if (exitCode !== 0) throw new Error(`${name} is up, and its ssh is not reached at ${address}`)
}

/** Brings the lab up; a moment where it is. */
export const labUp = (): Promise<Lab> => up(createProgress())

/** Takes the lab away. */
export const labDown = (): Promise<void> => down(createProgress())
