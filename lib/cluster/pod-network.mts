import pMap from 'p-map'
import { isAbort, messageOf } from '../base/errors.mts'
import type { Host } from '../input/inventory.mts'
import type { Kubectl } from '../reach/kubectl.mts'
import { getPods, isReady } from './pods.mts'

/** A netcheck pod that is ready. */
type Peer = { node: string; address: string; pod: string }

/** The namespace of the netcheck pods, and their Service's name in it. */
export const netcheck = { namespace: 'keybuzz-netcheck', service: 'netcheck' }

// Each is a kubectl process on the bastion: 64 at once would be too many.
const atOnce = 16

// Runs a busybox sh script in the netcheck pod of every host. `index` is the host's number. Returns what each printed.
const askPods = async (
  kubectl: Kubectl,
  hosts: Host[],
  script: (peers: Peer[], index: number) => string
): Promise<Map<string, string>> => {
  const peers = (await getPods(kubectl, { namespace: netcheck.namespace })).filter(isReady)
    .map(({ metadata, spec, status }) => ({ node: spec.nodeName ?? '', address: status.podIP ?? '', pod: metadata.name }))
  const answers = await pMap(hosts, async ({ name }, index): Promise<[string, string]> => {
    const peer = peers.find(({ node }) => node === name)
    if (!peer) return [name, 'its netcheck pod is not ready']
    const said = await kubectl({ timeout: 180 })`-n ${netcheck.namespace} exec ${peer.pod} -- sh -c ${script(peers, index)}`
      .catch((error: unknown) => {
        if (isAbort(error)) throw error
        return `its pod could not be asked: ${messageOf(error)}`
      })
    return [name, said.trim()]
  }, { concurrency: atOnce })
  return new Map(answers)
}

// Asks every peer for more than one packet of data, and the service address until every node has answered. kube-proxy
// chooses at random: a missing node is a fault only after many more tries than nodes.
const everyPeer = (peers: Peer[], service: string): string => `
for peer in ${peers.map(({ node, address }) => `${node}=${address}`).join(' ')}; do
  address=\${peer#*=}
  size=$(timeout 3 wget -q -O - http://$address:8080/block 2>&1 | wc -c)
  [ "$size" = 65536 ] || echo "no answer from the pod on \${peer%%=*} ($address)"
done
seen=' '; count=0; tries=0
while [ $tries -lt ${peers.length * 30} ] && [ $count -lt ${peers.length} ]; do
  node=$(timeout 3 wget -q -O - http://${service}/name 2>/dev/null) || { echo "no answer from the service address ${service}"; break; }
  case "$seen" in *" $node "*) ;; *) seen="$seen$node "; count=$((count + 1)) ;; esac
  tries=$((tries + 1))
done
[ $count -eq 0 ] || [ $count -eq ${peers.length} ] || echo "the service address ${service} was answered by\${seen% } only"`

/**
 * The pod on every host asks the pod on every other host for 64 KiB (so at full MTU), and the service address. No name is
 * resolved. Returns in words what failed, for each host. Needs the netcheck DaemonSet.
 */
export const podMatrix = async (kubectl: Kubectl, hosts: Host[]): Promise<Map<string, string>> => {
  const { namespace, service } = netcheck
  const address = (await kubectl`-n ${namespace} get service ${service} -o 'jsonpath={.spec.clusterIP}'`).trim()
  return askPods(kubectl, hosts, (peers) => {
    const lacking = hosts.filter(({ name }) => !peers.some(({ node }) => node === name))
    return [...lacking.map(({ name }) => `echo no netcheck pod is ready on ${name}`), everyPeer(peers, address)].join('\n')
  })
}

/**
 * Resolves names in a pod on every host: through the cluster's DNS address, and at each CoreDNS pod directly, so that the
 * others do not hide one that fails. Returns in words what failed, for each host. Needs the netcheck DaemonSet.
 */
export const resolveEverywhere = async (kubectl: Kubectl, hosts: Host[], names: string[]): Promise<Map<string, string>> => {
  const addresses = await kubectl`-n kube-system get pods -l k8s-app=kube-dns -o 'jsonpath={.items[*].status.podIP}'`
  const replicas = addresses.split(' ').filter(Boolean)
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
  const asked = `= ${names.join(' and ')}, by ${each} of ${replicas.length} replicas of CoreDNS`
  return new Map([...answers].map(([name, said]) => [name, `${asked}\n${said}`]))
}
