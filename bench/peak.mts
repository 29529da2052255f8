import { renderColumns } from '../lib/base/table.mts'
import { exec, labUp } from '../test/lab/nodes.mts'
import type { Progress } from '../test/lab/progress.mts'
import { runInBastion } from './bastion.mts'

/** What one step of the ramp met: requests a second that were asked for and answered, milliseconds, pods of the API. */
export type PeakStep = { offered: number; answered: number; failed: number; p50: number; p99: number; pods: { before: number; after: number } }

/** Requests a second through each of the two load balancers, one step after the other. */
const ramp = [5, 10, 20, 40, 40]
const seconds = 45

/** A request that takes an application some work: so many ms of CPU. */
const path = '/standin/burn?ms=5'
const host = 'platform-api.keybuzz.io'

type Load = { requests: { average: number }; latency: { p50: number; p99: number }; errors: number; timeouts: number; non2xx: number }

const load = async (balancer: string, rate: number, signal: AbortSignal): Promise<Load> => {
  const argv = ['node', 'node_modules/autocannon/autocannon.js', '--json', '-c', '20', '-R', String(rate), '-d', String(seconds), '-H', `Host: ${host}`, `http://${balancer}${path}`]
  const { stdout, stderr, exitCode } = await runInBastion(argv, signal)
  if (exitCode !== 0) throw new Error(`the load ended with ${exitCode}: ${stderr}`)
  return JSON.parse(stdout) as Load
}

const pods = async (): Promise<number> => {
  const command = `/artifacts/k3s kubectl --kubeconfig /root/.kube/config -n keybuzz-api get deployment api -o 'jsonpath={.status.readyReplicas}'`
  return Number((await exec('bastion', command)).stdout)
}

/** A ramp of load on KeyBuzz API in the lab, through both load balancers, while its autoscaler works. */
export const measurePeak = async ({ progress, signal }: { progress: Progress; signal: AbortSignal }): Promise<PeakStep[]> => {
  await labUp()
  return progress.task('a ramp of load on the API', async (say) => {
    const steps: PeakStep[] = []
    for (const rate of ramp) {
      say(`${rate * 2} requests a second`)
      const before = await pods()
      const both = await Promise.all(['10.0.0.5', '10.0.0.6'].map((balancer) => load(balancer, rate, signal)))
      const sum = (of: (one: Load) => number): number => both.reduce((total, one) => total + of(one), 0)
      steps.push({
        offered: rate * 2,
        answered: sum(({ requests }) => requests.average),
        failed: sum(({ errors, timeouts, non2xx }) => errors + timeouts + non2xx),
        p50: Math.max(...both.map(({ latency }) => latency.p50)),
        p99: Math.max(...both.map(({ latency }) => latency.p99)),
        pods: { before, after: await pods() }
      })
    }
    return steps
  })
}

/** The table for a terminal. */
export const peakTable = (steps: PeakStep[]): string => {
  const rows = steps.map(({ offered, answered, failed, p50, p99, pods }) =>
    [String(offered), answered.toFixed(0), String(failed), `${p50} ms`, `${p99} ms`, `${pods.before} to ${pods.after}`])
  return renderColumns([['Offered/s', 'Answered/s', 'Failed', 'p50', 'p99', 'Pods'], ...rows], rows[0]!.map(() => 'right' as const)).join('\n')
}
