import { remembered } from '../base/wait.mts'
import { printable } from '../base/words.mts'
import { askPods, netcheck, type Answer } from '../cluster/pod-network.mts'
import type { Host } from '../input/inventory.mts'
import type { Run } from '../run/run.mts'
import type { NodeStep } from '../run/step.mts'
import { backendsOf, type Backend } from './protocols.mts'

/** The nodes that applications may run on. */
export const nodesOfApps = ({ hosts, settings }: Pick<Run, 'hosts' | 'settings'>): Host[] =>
  hosts.filter(({ role }) => role === 'agent' || !settings.k3s.server_taint)

const connectSeconds = 3
// Mail servers make who connects wait for the banner, and hang up on who speaks earlier.
const answerSeconds = 8

/**
 * Asks all backends at once and prints, for each, its key and in hexadecimal what came back: the first bytes, and `exit` with
 * the code of who read them, or the message of nc. With -e the reader has the connection itself, and keeps it open until it
 * has read: HAProxy gives up on a client that has closed its side while it is still looking for a server.
 */
const everyBackend = (backends: Backend[]): string => `
ask() {
  said=$(nc -w ${connectSeconds} $2 $3 -e sh -c 'printf "$0"
timeout ${answerSeconds} dd bs=512 count=1 >&2 2>/dev/null; echo "exit $?" >&2' "$4" 2>&1 | od -An -v -tx1 | tr -d ' \\n')
  echo "$1 $said"
}
${backends.map(({ key, address, port, ask }) => `ask ${key} ${address} ${port} '${ask}' &`).join('\n')}
wait`

/** What is wrong with a backend from what everyBackend printed of it, and what to look at; '' if it answered as it should. */
export const faultOf = ({ key, address, port, reads }: Backend, hexadecimal: string): string => {
  const said = Buffer.from(hexadecimal, 'hex').toString('latin1')
  const [, answer, code] = /^([^]*)exit (\d+)\n$/.exec(said) ?? []
  if (answer) {
    const read = reads(answer)
    return read ?? `it answers with something else: ${JSON.stringify(printable(answer.split(/\r?\n/, 1)[0]!.slice(0, 60)))}. Is this its port?`
  }
  if (code !== undefined) {
    return ['124', '143'].includes(code)
      ? `it accepts, and says nothing in ${answerSeconds} s. Is this its port, and is its server well behind its load balancer?`
      : 'it accepts, and hangs up without a word. Is any server up behind its load balancer (HAProxy), and is this its port?'
  }
  const setting = `backends.${key}.port`
  if (/refused/.test(said)) return `refused: nothing listens there. Is it started, and is ${port} its port (${setting})?`
  if (/timed out/.test(said)) return `no answer in ${connectSeconds} s. Does its firewall let the nodes' private addresses in?`
  if (/route|unreachable/i.test(said)) return `no route to it, or a firewall refuses. Is ${address} its address, and is it on?`
  if (/bad address/.test(said)) return 'its name is not resolved. kubectl -n kube-system logs -l k8s-app=kube-dns'
  return printable(said).trim() || 'its pod said nothing of it'
}

/** What the pod of a host found: the fault of each backend, or why it could not be asked. */
type Found = { unasked: string; hint: string } | Map<Backend, string>

/**
 * In words for each host. What all hosts have found alike is told at the first of them, and the others point there. A node
 * whose pod cannot be asked has a fault of its own, which 03 tells: it fails here only where no node could be asked.
 */
export const toldAtFirst = (found: Map<string, Found>): Map<string, string> => {
  const asked = [...found].flatMap(([name, faults]) => (faults instanceof Map ? [{ name, faults }] : []))
  const isCommon = (backend: Backend, fault: string): boolean =>
    asked.length > 1 && asked.every(({ faults }) => faults.get(backend) === fault)
  const first = asked[0]?.name
  return new Map([...found].map(([name, faults]) => {
    if (!(faults instanceof Map)) return [name, asked.length > 0 ? `= was not asked: ${faults.unasked}` : `${faults.unasked}\nHint: ${faults.hint}`]
    const bad = [...faults].filter(([, fault]) => fault !== '')
    const elsewhere = bad.filter(([backend, fault]) => name !== first && isCommon(backend, fault))
    const titles = (some: [Backend, string][]): string => some.map(([{ title }]) => title).join(', ')
    return [name, [
      ...(bad.length < faults.size ? [`= ${titles([...faults].filter(([, fault]) => fault === ''))}`] : []),
      ...(elsewhere.length > 0 ? [`= without ${titles(elsewhere)}: see ${first}`] : []),
      ...bad.filter((one) => !elsewhere.includes(one)).map(([backend, fault]) =>
        `${backend.title} ${backend.address}:${backend.port}${isCommon(backend, fault) ? ' (from every node)' : ''}: ${fault}`)
    ].join('\n')]
  }))
}

const foundIn = (answer: Answer, backends: Backend[]): Found => {
  if ('unasked' in answer) return answer
  const said = new Map(answer.said.split('\n').map((line): [string, string] => [line.split(' ')[0] ?? '', line.split(' ')[1] ?? '']))
  return new Map(backends.map((backend) => [backend, faultOf(backend, said.get(backend.key) ?? '')]))
}

/**
 * Makes the step of a node that each backend of the settings, or those that are asked for, answers one of its pods with its own protocol, at the address
 * and port that the applications use. Needs the netcheck DaemonSet of 03. It is no `always`: in a plan of all scripts the
 * pods may not be there yet. Who tells the story goes on only where all nodes stand.
 */
export const reachesBackends = (
  run: Pick<Run, 'kubectl' | 'settings' | 'hosts' | 'chosen' | 'stands'>,
  isAsked: (key: Backend['key']) => boolean = () => true
): ((host: Host) => NodeStep) => {
  const backends = backendsOf(run.settings).filter(({ key }) => isAsked(key))
  const answers = remembered(async () => {
    const hosts = nodesOfApps(run).filter((host) => run.chosen.includes(host) && run.stands(host))
    const said = await askPods(run.kubectl, hosts, () => everyBackend(backends))
    return toldAtFirst(new Map([...said].map(([name, answer]) => [name, foundIn(answer, backends)])))
  })
  return ({ name }) => ({
    name: 'reaches the backends',
    check: async () => (await answers.get()).get(name) ?? 'was not asked',
    look: lookFrom(name, backends),
    timeout: 120,
    hint: 'docs/backends.md'
  })
}

const lookFrom = (node: string, backends: Backend[]): string =>
  `pod=$(kubectl -n ${netcheck.namespace} get pods --field-selector spec.nodeName=${node} -o name)
kubectl -n ${netcheck.namespace} exec -i $pod -- sh <<'END'
ask() { echo "$1 $2:$3, expected $5:"; { printf "$4"; sleep 2; } | timeout 5 nc -w ${connectSeconds} $2 $3 | head -c 60 | od -c; }
${backends.map(({ title, address, port, ask, expected }) => `ask ${title} ${address} ${port} '${ask}' '${expected}'`).join('\n')}
END`
