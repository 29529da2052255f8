import { duration } from '../lib/base/words.mts'
import type { Tally } from '../lib/drill/outage.mts'
import type { FailoverResults, Loss } from './failover.mts'
import type { LabResults } from './lab-runs.mts'
import { median } from './numbers.mts'
import type { Results } from './results.mts'
import type { HostsResult } from './ssh-hosts.mts'
import type { Row } from './table.mts'
import { secondsOf, type LabResult } from './told.mts'

const traffic = ({ connections, commands }: { connections: number; commands: number }): string =>
  `${connections} connections, ${commands} commands`

const fact = (what: string, measured: string): Row => ({ what, measured, goal: '' })

const goal = (what: string, measured: string, wanted: string, met: boolean): Row =>
  ({ what, measured, goal: wanted, met })

const each = (scripts: Record<string, number>): string =>
  Object.entries(scripts).map(([id, seconds]) => `${id.split('_').at(-1)} ${duration(seconds)}`).join(', ')

// The goals were set when there were only 01-03: the whole run, with its plan and Node's start, but without the others.
const first = ['09_k3s_01', '09_k3s_02', '09_k3s_03']

const labRows = ({ fresh, converged, plan }: LabResults): Row[] => {
  const withoutOthers = (run: LabResult): number =>
    run.seconds - secondsOf(run, Object.keys(run.scripts).filter((id) => !first.includes(id)))
  const [made, again] = [withoutOthers(fresh), withoutOthers(converged)]
  return [
    goal('fresh apply of 01-03, 8 bare nodes', duration(made), 'under 2 min', made < 120),
    fact('fresh apply, the whole run', duration(fresh.seconds)),
    fact('... each script', each(fresh.scripts)),
    fact('... over ssh', traffic(fresh)),
    goal('apply of 01-03 again, nothing to do', duration(again), 'under 10 s', again < 10),
    fact('apply again, the whole run', duration(converged.seconds)),
    fact('... each script', each(converged.scripts)),
    fact('... over ssh', traffic(converged)),
    fact('plan, nothing to do, the whole run', duration(plan.seconds)),
    fact('... over ssh', traffic(plan))
  ]
}

const hostsRows = ([few, many]: HostsResult[]): Row[] => {
  if (!few || !many) return []
  const ratio = many.seconds / few.seconds
  return [
    ...[few, many].flatMap((one): Row[] => [
      fact(`plan of 01, ${one.hosts} hosts`, duration(one.seconds)),
      fact('... over ssh', traffic(one)),
      fact('... CPU of the bastion, of all', `${duration(one.bastionCpu)}, ${duration(one.allCpu)}`)
    ]),
    goal(`plan of ${many.hosts} to ${few.hosts} hosts`, `${ratio.toFixed(1)} times`, 'at most 2 times', ratio <= 2)
  ]
}

const share = ({ failed, requests }: Tally): string => `${failed} of ${requests}`
const away = ({ outage }: Tally): string => duration(outage)

const apiRow = (what: string, losses: Loss[]): Row => {
  const worst = Math.max(...losses.map(({ api }) => api.outage))
  return goal(what, duration(worst), '5 s or less', worst <= 5 && losses.every(({ api }) => api.requests > 0))
}

const lossRows = (losses: Loss[]): Row[] => [
  fact('... requests that failed', losses.map(({ api }) => share(api)).join(', ')),
  fact('... HTTP away meanwhile', losses.map(({ http }) => away(http)).join(', '))
]

const failoverRows = ({ leader, killed, worker, window, rollout }: FailoverResults): Row[] => {
  const within = `${duration(window)} or less` // what the load balancers' health check needs
  const isWithin = (seconds: number): boolean => seconds <= window && worker.http.requests > 0
  const none = rollout.http.failed === 0 && rollout.http.requests > 0
  return [
    apiRow(`API away, etcd leader's machine dies, worst of ${leader.length}`, leader),
    fact('... median', duration(median(leader.map(({ api }) => api.outage)))),
    fact('... each round', leader.map(({ api }) => away(api)).join(', ')),
    ...lossRows(leader),
    apiRow("API away, etcd leader's k3s is killed", [killed]),
    ...lossRows([killed]),
    goal('HTTP away, a worker dies', away(worker.http), within, isWithin(worker.http.outage)),
    goal('... from the first failure to the last', duration(worker.httpFailing), within, isWithin(worker.httpFailing)),
    fact('... requests that failed', share(worker.http)),
    goal('rolling update of the ingress, failed', share(rollout.http), 'none', none),
    fact('... took', duration(rollout.seconds))
  ]
}

/** The rows of the table, in the order of the goals. */
export const rows = ({ lab, hosts, failover }: Pick<Results, 'lab' | 'hosts' | 'failover'>): Row[] => [
  ...(lab ? labRows(lab) : []),
  ...(hosts ? hostsRows(hosts) : []),
  ...(failover ? failoverRows(failover) : [])
]
