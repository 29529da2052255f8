import { isAbort } from '../base/errors.mts'
import type { Run } from '../run/run.mts'
import { type ClusterStep, Refusal } from '../run/step.mts'
import { askPod, readyPods } from './ask.mts'
import { namespace, type Way } from './holders.mts'

type Means = Pick<Run, 'kubectl' | 'sick'>

/** Seconds that a message may take: Alertmanager waits for others like it, and for its peer. */
const patience = 90

/** Alertmanager tries for minutes, the first times within ten seconds. Who has refused a message as often as this will not take it. */
const tries = 7

/** `givenUp`: it does not try again, as after 401 or 404. */
type Tries = { sent: number; failed: number; givenUp: number }

const lineOf = (metric: string, { kind, by }: Way): RegExp =>
  new RegExp(`^${metric}\\{(?=[^}]*integration="${by}")(?=[^}]*receiver_name="${kind}")[^}]*\\} (\\S+)$`, 'gm')

/** How often Alertmanager has tried a way, and failed. `metrics` is what its pods say at /metrics. */
export const triesOf = (metrics: string, way: Way): Tries => {
  const sum = (metric: string): number => [...metrics.matchAll(lineOf(metric, way))].reduce((all, [, value]) => all + Number(value), 0)
  const failed = sum('alertmanager_notification_requests_failed_total')
  return {
    sent: sum('alertmanager_notification_requests_total') - failed, failed, givenUp: sum('alertmanager_notifications_failed_total')
  }
}

const minus = (a: Tries, b: Tries): Tries => ({ sent: a.sent - b.sent, failed: a.failed - b.failed, givenUp: a.givenUp - b.givenUp })

// A connection that nobody answers is given up by the kernel only, after two minutes, and counted then.
const notTried = ({ by }: Way): string =>
  `Alertmanager has finished no try. Has 07 brought these settings to the cluster?${by === 'email' ? ' Do the nodes of monitoring.pools reach backends.smtp?' : ''}`

const wayInWords = ({ kind, by }: Way): string => `${kind} by ${by}`

/** The last words of Alertmanager's log about a way. */
export const whyNot = (log: string, { kind, by }: Way): string => {
  // The last line, when it gives up, has both in its words: err="pages/webhook[0]: notify retry canceled ...".
  const isOf = (line: string): boolean => line.includes(` err="${kind}/${by}[`)
    || (line.includes(`receiver=${kind} `) && line.includes(`integration=${by}[`) && line.includes(' err="'))
  const line = log.split('\n').findLast(isOf)
  return /err="((?:[^"\\]|\\.)*)"/.exec(line ?? '')?.[1]?.replaceAll('\\"', '"') ?? 'its log does not say why'
}

/**
 * The step that a test message has reached everybody whom the settings name: one with the severity of a page, which goes to
 * the tickets too. Each run sends one. It resolves itself after two minutes.
 */
export const sendsTest = ({ kubectl, sick }: Means, ways: Way[]): ClusterStep => {
  let before: Tries[] | undefined
  const count = async (pods: string[]): Promise<Tries[]> => {
    const metrics = await Promise.all(pods.map((pod) => askPod(kubectl, 'alertmanager', pod, '/metrics')))
    return ways.map((way) => triesOf(metrics.join('\n'), way))
  }
  return {
    name: 'has sent a test message',
    within: patience,
    check: async () => {
      const pods = await readyPods({ kubectl, sick }, 'alertmanager')
      if (pods.length === 0) throw new Error('no pod of Alertmanager is ready')
      if (before === undefined) return ways.map((way) => `${wayInWords(way)}: none in this run`).join('\n')
      const now = (await count(pods)).map((tried, index) => minus(tried, before![index]!))
      const log = now.some(({ failed }) => failed > 0) ? (await Promise.all(pods.map((pod) => logOf(kubectl, pod)))).join('') : ''
      const lines = ways.map((way, index) => {
        const { sent, failed } = now[index]!
        if (sent > 0) return `= ${wayInWords(way)}`
        return `${wayInWords(way)}: ${failed > 0 ? whyNot(log, way) : notTried(way)}`
      })
      const refused = lines.filter((line) => !line.startsWith('= '))
      if (refused.length > 0 && now.every(({ sent, failed, givenUp }) => sent > 0 || givenUp > 0 || failed >= tries)) throw new Refusal(refused.join('\n'))
      return lines.join('\n')
    },
    look: '# Has it come?',
    change: async () => {
      const pods = await readyPods({ kubectl, sick }, 'alertmanager')
      before = await count(pods)
      const now = new Date()
      // kubectl create --raw names no type of its content, and Alertmanager takes none without.
      for (const pod of pods) await kubectl`-n ${namespace} exec ${pod} -- ${addAlert(now)}`
    },
    byHand: `kubectl -n ${namespace} exec alertmanager-0 -- \\
  amtool --alertmanager.url=http://127.0.0.1:9093 alert add alertname=Test severity=page --annotation=summary='This is a test'`,
    hint: 'correct monitoring.alerts, or the secret in ~/.keybuzz/secrets, and run 09_k3s_07 again'
  }
}

// `sent` makes it another alert than that of the run before. Without --start it would begin when it ends.
const addAlert = (now: Date): string[] => [
  'amtool', '--alertmanager.url=http://127.0.0.1:9093', 'alert', 'add', 'alertname=Test', 'severity=page', `sent=${now.toISOString()}`,
  '--annotation=summary=This is a test of the alerts. Nothing is wrong, and nothing is to be done.',
  '--annotation=runbook=docs/alerts.md', `--start=${now.toISOString()}`, `--end=${new Date(now.getTime() + 120_000).toISOString()}`
]

const logOf = (kubectl: Means['kubectl'], pod: string): Promise<string> =>
  kubectl`-n ${namespace} logs ${pod} --since=3m --tail=500`.catch((error: unknown) => {
    if (isAbort(error)) throw error
    return ''
  })
