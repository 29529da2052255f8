import type { Host } from './inventory.mts'
import type { Kubectl } from './kubectl.mts'

type Pod = {
  metadata: { name: string }
  spec: { nodeName: string }
  status: { podIP?: string; conditions?: { type: string; status: string }[] }
}

const namespace = 'keybuzz-netcheck'

// Runs in a pod. Asks every peer for more than one packet holds, and the service address until every node has answered:
// kube-proxy picks one at random, so many more tries than nodes are needed before a missing one means something.
const ask = (peers: { node: string; address: string }[], service: string): string => `
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
[ $count -eq ${peers.length} ] || echo "the service address ${service} was answered by$seen only"`

/**
 * Asks from a pod on every host the pod on every other one, with 64 KiB (so at full MTU), and the service address, with
 * no name resolved. Returns for each host in words what failed. Needs the netcheck DaemonSet.
 */
export const podMatrix = async (kubectl: Kubectl, hosts: Host[]): Promise<Map<string, string>> => {
  const { items } = JSON.parse(await kubectl(['-n', namespace, 'get', 'pods', '-o', 'json'])) as { items: Pod[] }
  const ready = items.filter(({ status }) => status.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True'))
  const service = (await kubectl(['-n', namespace, 'get', 'service', 'netcheck', '-o', 'jsonpath={.spec.clusterIP}'])).trim()
  const peers = ready.map(({ spec, status }) => ({ node: spec.nodeName, address: status.podIP ?? '' }))
  const lacking = hosts.filter(({ name }) => !peers.some(({ node }) => node === name)).map(({ name }) => name)
  const answers = hosts.map(async ({ name }): Promise<[string, string]> => {
    const pod = ready.find(({ spec }) => spec.nodeName === name)
    if (!pod) return [name, 'its netcheck pod is not ready']
    const missing = lacking.map((other) => `no netcheck pod is ready on ${other}`)
    const said = await kubectl(['-n', namespace, 'exec', pod.metadata.name, '--', 'sh', '-c', ask(peers, service)])
      .catch((error: unknown) => `its pod could not be asked: ${error instanceof Error ? error.message : String(error)}`)
    return [name, [...missing, said.trim()].filter(Boolean).join('\n')]
  })
  return new Map(await Promise.all(answers))
}
