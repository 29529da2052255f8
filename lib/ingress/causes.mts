import { isAbort, messageOf } from '../base/errors.mts'
import { getPods, statusInWords, type Pod } from '../cluster/pods.mts'
import type { Host } from '../input/inventory.mts'
import type { Answer } from '../reach/http.mts'
import type { Kubectl } from '../reach/kubectl.mts'
import { Unreachable, type Ssh } from '../reach/ssh.mts'
import { inShort, makeCheck, passes, type Check } from './check.mts'

type Means = { ssh: Ssh; kubectl: Kubectl }

/**
 * Why a host answers the check with this, and what to do. Asks the host over ssh, the API for the host's pod, and the host
 * once more with the PROXY protocol the other way round.
 */
export const causeOf = async ({ ssh, kubectl }: Means, host: Host, check: Check, answer: Answer): Promise<Cause> => {
  const { proxyProtocol, path } = check
  const [node, pod, otherWay] = await Promise.all([
    askNode(ssh, host, check),
    podOn(kubectl, host),
    makeCheck(host.address, { ...check, proxyProtocol: !proxyProtocol })
  ])
  return explain({ answer, otherWay, proxyProtocol, path, node, pod })
}

/** Who has port 80, whether nginx drains, and what is answered on the node itself; nothing where ssh does not reach it. */
export const askNode = async (ssh: Ssh, host: Host, check: Check): Promise<NodeState | undefined> => {
  try {
    return parseNode(await ssh.capture(host, nodeShell(host, check)))
  } catch (error) {
    if (error instanceof Unreachable) return undefined
    throw error
  }
}

const nodeShell = ({ address }: Host, { path, host, proxyProtocol }: Check): string => {
  const proxy = proxyProtocol ? `PROXY TCP4 ${address} ${address} 1024 80\\r\\n` : ''
  const header = host === '' ? ' HTTP/1.0\\r\\n' : ` HTTP/1.1\\r\\nHost: ${host}\\r\\nConnection: close\\r\\n`
  return `
ss -Hltnp 'sport = :80' | { grep -o '"[^"]*",pid=[0-9]*' || true; } | sort -u | while IFS=, read -r name pid; do
  name=\${name//[\\" ]/}; pid=\${pid#pid=}
  place=host
  if grep -q kubepods /proc/$pid/cgroup; then place=pod; fi
  echo "listener $name $pid $place $(awk '/^State:/ {print $2}' /proc/$pid/status)"
  if [[ $place == pod && -e /proc/$pid/root/tmp/drain ]]; then echo drains; fi
done
ask() { timeout 3 bash -c 'exec 3<>/dev/tcp/$0/$1 || exit 1; printf "$2" >&3; head -n 1 <&3' "$@" 2>&1 | tail -n 1; }
echo "ready $(ask 127.0.0.1 8081 'GET /nginx-ready HTTP/1.0\\r\\n\\r\\n')"
echo "inside $(ask ${address} 80 '${proxy}GET ${path}${header}\\r\\n')"`
}

/** The ingress pod of a host: the one that stays, where another is leaving. In words why it is not known. */
export const podOn = async (kubectl: Kubectl, { name }: Host): Promise<Pod | undefined | string> => {
  const which = { namespace: 'nginx-ingress', label: 'app=nginx-ingress', field: `spec.nodeName=${name}` }
  try {
    const pods = await getPods(kubectl, which)
    return pods.find((pod) => !isLeaving(pod)) ?? pods[0]
  } catch (error) {
    if (isAbort(error)) throw error
    return messageOf(error)
  }
}

const isLeaving = ({ metadata }: Pod): boolean => metadata.deletionTimestamp !== undefined

/** What a node says of itself. See `parseNode`. */
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

export type Evidence = {
  answer: Answer
  /** What the check answers with the PROXY protocol the other way round. */
  otherWay: Answer
  proxyProtocol: boolean
  path: string
  /** Nothing where the node could not be asked. */
  node: NodeState | undefined
  /** Nothing where the node has no such pod; in words why it is not known. */
  pod: Pod | undefined | string
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

/** What it means that a check failed, and what to do. */
export type Cause = { words: string; hint: string }

/** Reads the cause out of what was found. */
export const explain = (evidence: Evidence): Cause => {
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

const logsOf = ({ metadata }: Pod, flags = ''): string => `kubectl -n nginx-ingress logs ${flags}${metadata.name}`

const nothingListens = (said: string, pod: Evidence['pod']): Cause => {
  const nothing = `${said}: nothing listens on port 80`
  if (typeof pod === 'string') return { words: `${nothing}, and the API does not say what became of its pod: ${pod}`, hint: 'see docs/when-it-is-down.md' }
  if (!pod) return { words: `${nothing}: the node has no ingress pod`, hint: 'run 09_k3s_05' }
  const { name } = pod.metadata
  if (isLeaving(pod)) return { words: `${nothing}: its pod ${name} is leaving`, hint: 'wait for the one that follows' }
  if (pod.status.containerStatuses?.[0]?.state.running) return { words: `${nothing}, though its pod ${name} runs`, hint: logsOf(pod) }
  return { words: `${nothing}: its pod ${name} does not run: ${statusInWords(pod)}`, hint: logsOf(pod, '--previous ') }
}

const drains = (said: string, pod: Evidence['pod']): Cause => {
  if (typeof pod === 'object' && isLeaving(pod)) {
    return { words: `${said}: the node drains, for its pod is being replaced or moved`, hint: 'wait for the one that follows' }
  }
  const name = typeof pod === 'object' ? pod.metadata.name : 'POD'
  return {
    words: `${said}: the node drains, for somebody has put /tmp/drain there`,
    hint: `kubectl -n nginx-ingress exec ${name} -- rm /tmp/drain takes it back`
  }
}

const answersOtherwise = ({ answer, path }: Evidence, { ready }: NodeState): Cause => {
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
