import pMap from 'p-map'
import { isAbort, messageOf, quoted } from '../base/errors.mts'
import { parseAddress } from '../base/ipv4.mts'
import { isHostname } from '../base/names.mts'
import type { Host } from '../input/inventory.mts'
import type { Kubectl } from '../reach/kubectl.mts'
import { getPods, isReady, statusInWords } from './pods.mts'

/** A netcheck pod that is ready. */
type Peer = { node: string; address: string; pod: string }

/** The namespace of the netcheck pods, and their Service's name in it. */
export const netcheck = { namespace: 'keybuzz-netcheck', service: 'netcheck' }

// Each is a kubectl process on the bastion: 64 at once would be too many.
const atOnce = 16

/** What the pod of a host said, or why it could not be asked, and what to do then. */
export type Answer = { said: string } | { unasked: string; hint: string }

const hints = {
  pod: `kubectl -n ${netcheck.namespace} describe pods; docs/workers.md, "Rebuild a node's containerd"`,
  exec: 'is 10250/tcp open from the servers to it, and its kubelet well?',
  packets: 'is 8472/udp open between the private addresses, in the firewall of the hosting network too?'
}

// Seconds that a pod may take. The API waits for 30 s and more for a node that it cannot reach; a pod is through in a few.
const longest = (hosts: Host[]): number => 15 + hosts.length / 2

/**
 * Runs a busybox sh script in the netcheck pod of every host, and returns what each printed. `index` is the host's number. A
 * pod may take 15 s, and half a second for each host.
 */
export const askPods = async (
  kubectl: Kubectl,
  hosts: Host[],
  script: (peers: Peer[], index: number) => string
): Promise<Map<string, Answer>> => {
  const pods = await getPods(kubectl, { namespace: netcheck.namespace })
  const peers = pods.filter(isReady)
    .map(({ metadata, spec, status }) => ({ node: spec.nodeName ?? '', address: status.podIP ?? '', pod: metadata.name }))
    .filter(({ node, address }) => isHostname(node) && parseAddress(address) !== undefined) // they go into shell
  const answers = await pMap(hosts, async ({ name }, index): Promise<[string, Answer]> => {
    const peer = peers.find(({ node }) => node === name)
    if (!peer) {
      const pod = pods.find(({ spec }) => spec.nodeName === name)
      return [name, { unasked: `its netcheck pod is not ready${pod ? `: ${statusInWords(pod)}` : ''}`, hint: hints.pod }]
    }
    return kubectl({ timeout: longest(hosts) })`-n ${netcheck.namespace} exec ${peer.pod} -- sh -c ${script(peers, index)}`.then(
      (said) => [name, { said: said.trim() }],
      (error: unknown) => {
        if (isAbort(error)) throw error
        return [name, { unasked: `its pod could not be asked: ${messageOf(error)}`, hint: hints.exec }]
      })
  }, { concurrency: atOnce })
  return new Map(answers)
}

// Asks every peer for more than one packet of data, and the service address where there is one.
const everyPeer = (peers: Peer[], service: string | undefined): string => `
ask() {
  size=$(timeout 3 wget -q -O - http://$2:8080/block 2>&1 | wc -c)
  [ "$size" = 65536 ] || echo "no answer from the pod on $1 ($2)"
}
asked=0
{
  for peer in ${peers.map(({ node, address }) => `${node}=${address}`).join(' ')}; do
    ask \${peer%%=*} \${peer#*=} &
    asked=$((asked + 1))
    [ $((asked % 8)) -ne 0 ] || wait
  done
  wait
} | sort${service === undefined ? '' : everyAnswer(peers, service)}`

// Asks until every node has answered. kube-proxy chooses at random: a missing node is a fault only after many more tries than nodes.
const everyAnswer = (peers: Peer[], service: string): string => `
seen=' '; count=0; tries=0
while [ $tries -lt ${peers.length * 30} ] && [ $count -lt ${peers.length} ]; do
  node=$(timeout 3 wget -q -O - http://${service}/name 2>/dev/null) || { echo "no answer from the service address ${service}"; break; }
  case "$seen" in *" $node "*) ;; *) seen="$seen$node "; count=$((count + 1)) ;; esac
  tries=$((tries + 1))
done
[ $count -eq 0 ] || [ $count -eq ${peers.length} ] || echo "the service address ${service} was answered by\${seen% } only"`

const noAnswer = /^no answer from the pod on (\S+) .*$/

/**
 * What is wrong with the pod network, told once: at the node that is sick. A pod that no other node reaches is told there,
 * and the others leave it out. Each hint is for what was seen.
 */
export const toldOnce = (answers: Map<string, Answer>): Map<string, string> => {
  const asked = [...answers].flatMap(([name, answer]) => ('said' in answer ? [{ name, lines: answer.said.split('\n').filter(Boolean) }] : []))
  const unreached = (name: string, lines: string[]): string[] =>
    lines.flatMap((line) => noAnswer.exec(line)?.[1] ?? []).filter((peer) => peer !== name)
  const isCutOff = (name: string): boolean => {
    const others = asked.filter((other) => other.name !== name)
    return asked.some((one) => one.name === name) && others.length > 0
      && others.every((other) => unreached(other.name, other.lines).includes(name))
  }
  const cutOff = asked.map(({ name }) => name).filter(isCutOff)
  const missing = [...answers].flatMap(([name, answer]) => ('said' in answer ? [] : [name]))
  return new Map([...answers].map(([name, answer]) => {
    if ('unasked' in answer) return [name, `${answer.unasked}\nHint: ${answer.hint}`]
    const lines = answer.said.split('\n').filter(Boolean)
    const elsewhere = unreached(name, lines).filter((peer) => cutOff.includes(peer) || missing.includes(peer))
    const rest = lines.filter((line) => !elsewhere.includes(noAnswer.exec(line)?.[1] ?? ''))
    // The service address chooses at random: it also chose those that are told elsewhere.
    const own = elsewhere.length > 0 && rest.every((line) => !noAnswer.test(line)) ? [] : rest
    const words = cutOff.includes(name) ? ['no other node reaches its pod'] : own
    const left = new Set([...missing, ...(words === own ? elsewhere : [])])
    return [name, [
      ...(left.size > 0 ? [`= without ${[...left].join(', ')}: see there`] : []),
      ...words,
      ...(words.length > 0 ? [`Hint: ${hints.packets}`] : [])
    ].join('\n')]
  }))
}

const leftOut = (nodes: string[]): string => (nodes.length === 0 ? '' : `= without the pod on ${nodes.join(', ')}, which is not well\n`)

/**
 * The pod on every host asks the pod on every other host for 64 KiB (so at full MTU), and the service address. No name is
 * resolved. Returns in words what failed, for each host. Needs the netcheck DaemonSet. Nodes that are known to be sick are
 * left out, and then the service address too: it goes on choosing their pods.
 */
export const podMatrix = async (kubectl: Kubectl, hosts: Host[], sick: string[] = []): Promise<Map<string, string>> => {
  const { namespace, service } = netcheck
  const address = (await kubectl`-n ${namespace} get service ${service} -o 'jsonpath={.spec.clusterIP}'`).trim()
  if (parseAddress(address) === undefined) throw new Error(`the Service ${service} has no IPv4 address: ${quoted(address)}`)
  const told = toldOnce(await askPods(kubectl, hosts, (peers) =>
    everyPeer(peers.filter(({ node }) => !sick.includes(node)), sick.length === 0 ? address : undefined)))
  return new Map([...told].map(([name, words]) => [name, leftOut(sick) + words]))
}

/**
 * Resolves names in a pod on every host: through the cluster's DNS address, and at each CoreDNS pod directly, so that the
 * others do not hide one that fails. Returns in words what failed, for each host. Needs the netcheck DaemonSet. The CoreDNS
 * pods of nodes that are known to be sick are left out.
 */
export const resolveEverywhere = async (kubectl: Kubectl, hosts: Host[], names: string[], sick: string[] = []): Promise<Map<string, string>> => {
  // One that is not ready is told by the step of its rollout.
  const pods = (await getPods(kubectl, { namespace: 'kube-system', label: 'k8s-app=kube-dns' }))
    .filter((pod) => isReady(pod) && !sick.includes(pod.spec.nodeName ?? ''))
  const replicas = pods.map(({ status }) => status.podIP ?? '').filter((address) => parseAddress(address) !== undefined)
  const each = Math.min(8, replicas.length)
  // All at once: a replica that does not answer costs seconds. Each pod asks some replicas, and all pods together ask all.
  const answers = await askPods(kubectl, hosts, (_, index) => `
resolves() { timeout 3 nslookup "$@" >/dev/null 2>&1 || timeout 3 nslookup "$@" >/dev/null 2>&1; }
for name in ${names.join(' ')}; do
  { resolves "$name" || echo "$name is not resolved"; } &
  for replica in ${[...replicas.slice(index % replicas.length), ...replicas].slice(0, each).join(' ')}; do
    { resolves "$name" "$replica" || echo "$name is not resolved by CoreDNS at $replica"; } &
  done
done
wait`)
  const asked = `${leftOut(sick)}= ${names.join(' and ')}, by ${each} of ${replicas.length} replicas of CoreDNS`
  return new Map([...answers].map(([name, answer]) => [name, 'said' in answer ? `${asked}\n${answer.said}` : answer.unasked]))
}
