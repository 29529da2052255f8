import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { duration } from '../lib/base/words.mts'
import type { Tally } from '../lib/drill/outage.mts'
import { readSettings } from '../lib/input/settings.mts'
import { kill, start } from '../test/lab/nodes.mts'
import type { Progress } from '../test/lab/progress.mts'
import { kubectl, on, workers } from '../test/lab/tests/cluster.mts'
import { failingFor, underTraffic } from '../test/lab/tests/traffic.mts'
import { runInBastion } from './bastion.mts'
import { etcdLeader, untilSound } from './sound.mts'

/** What requests met while something was taken away. Times are seconds. */
export type Loss = {
  target: string
  api: Tally
  http: Tally
  /** The time within which the requests to the canary were sent that failed. */
  httpFailing: number
}

export type FailoverResults = {
  /** The etcd leader's machine is switched off, a round each. */
  leader: Loss[]
  /** The etcd leader's k3s is killed; systemd starts it again. */
  killed: Loss
  /** A worker is switched off. */
  worker: Loss
  /** Seconds that the load balancers' health check may take to see that a node is dead, by the lab's settings. */
  window: number
  rollout: { seconds: number; http: Tally }
}

type Way = { take: (name: string) => Promise<unknown>; giveBack: (name: string) => Promise<void>; interval: number }

// Milliseconds between two requests to a target: as in the drill, or 50 requests a second through both load balancers.
const [often, veryOften] = [200, 40]

// Seconds until what was taken is given back: several times what a goal allows, and no request is to meet the return.
const away = 25

const power = { take: kill, giveBack: start }
const k3s = {
  take: (name: string) => on(name, 'systemctl kill --kill-whom=main --signal=KILL k3s'),
  giveBack: async () => {} // systemd does
}

const lose = async (which: () => Promise<string>, way: Way, signal: AbortSignal): Promise<Loss> => {
  let target = ''
  try {
    const met = await underTraffic(way.interval, async () => {
      target = await which() // only now: another server may lead etcd since the traffic was started
      await way.take(target)
      await sleep(away * 1000, undefined, { signal })
    }, { signal })
    return { target, api: met.api, http: met.http, httpFailing: failingFor(met) }
  } finally {
    if (target !== '') await way.giveBack(target)
  }
}

const rollOut = async (signal: AbortSignal): Promise<FailoverResults['rollout']> => {
  const ingress = ['-n', 'nginx-ingress', 'rollout']
  const command = ['/artifacts/k3s', 'kubectl', '--kubeconfig', '/root/.kube/config', ...ingress]
  let seconds = NaN
  const { http } = await underTraffic(veryOften, async () => {
    const began = performance.now()
    await kubectl(...ingress, 'restart', 'daemonset/nginx-ingress')
    const { exitCode, stderr } = await runInBastion([...command, 'status', 'daemonset/nginx-ingress', '--timeout=15m'], signal)
    if (exitCode !== 0) throw new Error(`The ingress was not updated: ${stderr}`)
    seconds = (performance.now() - began) / 1000
  }, { signal })
  return { seconds, http }
}

/** Takes parts of the converged cluster away under traffic, one after the other, and gives each back. */
export const measureFailover = async (
  { rounds, progress, signal }: { rounds: number; progress: Progress; signal: AbortSignal }
): Promise<FailoverResults> =>
  progress.task('failover', async (say) => {
    const { ingress: { health_check: check } } = await readSettings(join(import.meta.dirname, '../test/lab/settings.yaml'))
    const round = async (what: string, which: () => Promise<string>, way: Way): Promise<Loss> => {
      say(`${what}: waiting until the cluster is well`)
      await untilSound(signal)
      say(what)
      const loss = await lose(which, way, signal)
      const [api, http] = [loss.api.outage, loss.http.outage].map(duration)
      progress.note(`${what}: ${loss.target}, API away for ${api}, HTTP for ${http}`) // also where a later one fails
      return loss
    }
    const leader: Loss[] = []
    for (let number = 1; number <= rounds; number++) {
      const what = `etcd leader's machine dies, round ${number} of ${rounds}`
      leader.push(await round(what, etcdLeader, { ...power, interval: often }))
    }
    const killed = await round("etcd leader's k3s is killed", etcdLeader, { ...k3s, interval: often })
    const worker = await round('worker dies', async () => workers[0]!, { ...power, interval: veryOften })
    say('rolling update of the ingress: waiting until the cluster is well')
    await untilSound(signal)
    say('rolling update of the ingress')
    const rollout = await rollOut(signal)
    return { leader, killed, worker, window: check.retries * (check.interval + check.timeout), rollout }
  })
