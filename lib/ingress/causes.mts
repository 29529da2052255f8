import { inShort, passes } from './check.mts'
import type { Answer } from '../reach/http.mts'

/** What a node says of itself; see `parseNode`. */
export type NodeState = {
  /** Who listens on port 80. */
  listeners: { name: string; pid: number; inPod: boolean; stopped: boolean }[]
  /** /tmp/drain is there, in nginx's container. */
  drains: boolean
  /** What 127.0.0.1:8081/nginx-ready answers: "200", "503", or why not. */
  ready: string
  /** What the check answers when the node asks itself. */
  inside: string
}

/** The ingress pod of a node. */
export type PodState = { name: string; leaving: boolean; running: boolean; reason: string }

export type Evidence = {
  answer: Answer
  /** What the check answers with the PROXY protocol the other way round. */
  otherWay: Answer
  proxyProtocol: boolean
  path: string
  /** Nothing where the node could not be asked. */
  node: NodeState | undefined
  /** Nothing where the node has no such pod; in words why it is not known. */
  pod: PodState | undefined | string
}

const firstStatus = (line: string): string => /^HTTP\/\S+ (\d{3})/.exec(line)?.[1] ?? (line.replace(/^.*: /, '') || 'no answer')

/** Reads what the script on the node printed: "listener nginx 812 pod", "drains", "ready LINE", "inside LINE". */
export const parseNode = (printed: string): NodeState => {
  const lines = printed.split('\n').map((line) => line.trim())
  const after = (key: string): string => firstStatus(lines.find((line) => line.startsWith(`${key} `))?.slice(key.length + 1) ?? '')
  return {
    listeners: lines.filter((line) => line.startsWith('listener ')).map((line) => {
      const [, name = '', pid = '', place = '', state = ''] = line.split(' ')
      return { name, pid: Number(pid), inPod: place === 'pod', stopped: state === 'T' }
    }),
    drains: lines.includes('drains'),
    ready: after('ready'),
    inside: after('inside')
  }
}

type RawPod = {
  metadata: { name: string; deletionTimestamp?: string }
  status: {
    phase: string
    reason?: string
    message?: string
    conditions?: { status: string; message?: string }[]
    containerStatuses?: {
      state: Record<'waiting' | 'running' | 'terminated', { reason?: string; message?: string } | undefined>
      lastState?: { terminated?: { reason?: string; message?: string; exitCode?: number } }
    }[]
  }
}

/** Reads `kubectl get pods -o json` of one node: the pod that is not leaving goes first. */
export const parsePod = (json: string): PodState | undefined => {
  const { items } = JSON.parse(json) as { items: RawPod[] }
  const [pod] = items.toSorted((a, b) => Number(a.metadata.deletionTimestamp !== undefined) - Number(b.metadata.deletionTimestamp !== undefined))
  if (!pod) return undefined
  const { phase, containerStatuses: containers = [], conditions = [] } = pod.status
  const state = containers[0]?.state
  const last = containers[0]?.lastState?.terminated
  const why = [
    state?.waiting?.reason ?? state?.terminated?.reason ?? pod.status.reason ?? phase,
    (last && `ended with exit code ${last.exitCode}${last.message ? `: ${lastLine(last.message)}` : ''}`)
      || state?.waiting?.message || pod.status.message || conditions.find(({ status, message }) => status === 'False' && message)?.message
  ]
  return {
    name: pod.metadata.name,
    leaving: pod.metadata.deletionTimestamp !== undefined,
    running: state?.running !== undefined,
    reason: why.filter(Boolean).join(': ')
  }
}

const lastLine = (text: string): string => text.trim().split('\n').at(-1) ?? ''

/** What it means that a check failed, and what to do. */
export const explain = (evidence: Evidence): { words: string; hint: string } => {
  const { answer, otherWay, proxyProtocol, node, pod } = evidence
  const said = inShort(answer)
  if (!node) {
    return { words: `${said}, and ssh does not reach the node either`, hint: 'the machine or its network is down: look at its console' }
  }
  const stranger = node.listeners.find(({ name, inPod }) => name !== 'nginx' || !inPod)
  if (stranger) {
    const what = stranger.inPod ? 'in another pod' : 'which is no pod'
    return {
      words: `${said}: port 80 is taken by ${stranger.name} (pid ${stranger.pid}), ${what}`,
      hint: stranger.name === 'docker-proxy'
        ? 'docker ps, on the node, says which container publishes port 80: stop it'
        : `systemctl status ${stranger.pid}, on the node, says what it belongs to: stop and disable it`
    }
  }
  if (node.listeners.length === 0) return nothingListens(said, pod)
  if (passes(otherWay)) {
    return {
      words: `${said}: nginx answers only with${proxyProtocol ? 'out' : ''} the PROXY protocol`,
      hint: 'turn it on at both ends or at none: ingress.client_address (then 09_k3s_05), and the load balancers\' services'
    }
  }
  if (node.listeners.some(({ stopped }) => stopped)) {
    return { words: `${said}: nginx has been stopped by a signal`, hint: `kill -CONT ${node.listeners.map(({ pid }) => pid).join(' ')}, on the node` }
  }
  if (answer.error !== undefined && node.inside === '200') {
    return {
      words: `${said}, though the node itself is answered 200: something between drops it`,
      hint: '09_k3s_01 opens 80 and 443 on the node; look at the firewall of the hosting network too'
    }
  }
  return node.drains ? drains(said, pod) : answersOtherwise(evidence, node)
}

const logsOf = ({ name }: PodState): string => `kubectl -n nginx-ingress logs --previous ${name}`

const nothingListens = (said: string, pod: Evidence['pod']): { words: string; hint: string } => {
  const nothing = `${said}: nothing listens on port 80`
  if (typeof pod === 'string') return { words: `${nothing}, and the API does not say what became of its pod: ${pod}`, hint: 'see docs/when-it-is-down.md' }
  if (!pod) return { words: `${nothing}: the node has no ingress pod`, hint: 'run 09_k3s_05' }
  if (pod.leaving) return { words: `${nothing}: its pod ${pod.name} is leaving`, hint: 'wait for the one that follows' }
  if (pod.running) return { words: `${nothing}, though its pod ${pod.name} runs`, hint: logsOf(pod).replace('--previous ', '') }
  return { words: `${nothing}: its pod ${pod.name} does not run: ${pod.reason}`, hint: logsOf(pod) }
}

const drains = (said: string, pod: Evidence['pod']): { words: string; hint: string } => {
  if (typeof pod === 'object' && pod.leaving) {
    return { words: `${said}: the node drains, for its pod is being replaced or moved`, hint: 'wait for the one that follows' }
  }
  const name = typeof pod === 'object' ? pod.name : 'POD'
  return {
    words: `${said}: the node drains, for somebody has put /tmp/drain there`,
    hint: `kubectl -n nginx-ingress exec ${name} -- rm /tmp/drain takes it back`
  }
}

const answersOtherwise = ({ answer, path }: Evidence, { ready }: NodeState): { words: string; hint: string } => {
  const said = inShort(answer)
  if (ready !== '200') {
    const what = ready === '503' ? 'has not loaded a configuration' : 'does not answer on 8081'
    return {
      words: `${said}: the controller ${what} (/nginx-ready: ${ready})`,
      hint: 'its log says why: kubectl -n nginx-ingress logs POD; most often it cannot reach the API'
    }
  }
  if (answer.status === 404) {
    return { words: `404: nginx has no ${path} for this request`, hint: 'run 09_k3s_05: it writes the check as ingress.health_check says' }
  }
  if (answer.status === undefined) {
    return { words: `${said}: nginx has the port and does not answer`, hint: 'look at the node\'s load, and at kubectl -n nginx-ingress logs POD' }
  }
  return { words: `${said}, expected 200`, hint: 'curl -i it from the bastion, and see docs/health-check.md' }
}
