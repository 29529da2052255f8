import { isAbort } from '../base/errors.mts'
import type { Remembered } from '../base/wait.mts'
import { plural } from '../base/words.mts'
import type { Host } from '../input/inventory.mts'
import { removeOldNetwork, removeOldNetworkByHand, sudo, unitOf } from '../node/k3s.mts'
import type { Kubectl } from '../reach/kubectl.mts'
import { login } from '../reach/ssh.mts'
import type { Run } from '../run/run.mts'
import type { ClusterStep, NodeStep } from '../run/step.mts'

/** What the scripts read of a Kubernetes Node. */
export type Node = {
  metadata: { name: string; labels?: Record<string, string>; annotations?: Record<string, string> }
  spec: { taints?: { key: string; value?: string; effect: string }[] }
  status: {
    conditions?: { type: string; status: string; message?: string }[]
    allocatable?: Record<string, string>
    nodeInfo?: { kubeletVersion: string; containerRuntimeVersion: string; osImage: string; kernelVersion: string }
  }
}

/** Every Node of the cluster by name. */
export const getNodes = async (kubectl: Kubectl): Promise<Map<string, Node>> => {
  const { items } = JSON.parse(await kubectl`get nodes -o json`) as { items: Node[] }
  return new Map(items.map((node) => [node.metadata.name, node]))
}

/** True where a condition of the node, such as Ready or EtcdIsVoter, is True. */
export const is = (node: Node | undefined, type: string): boolean =>
  node?.status.conditions?.some((condition) => condition.type === type && condition.status === 'True') ?? false

/** The Nodes of the cluster by name, as `remembered` keeps them. */
export type Nodes = Remembered<Map<string, Node>>

/** The step that a host's Node is Ready. */
export const isReadyNode = (host: Host, nodes: Nodes): NodeStep => ({
  name: 'is Ready',
  check: async () => {
    const node = (await nodes.get()).get(host.name)
    if (!node) return 'has not registered'
    return is(node, 'Ready') ? '' : (node.status.conditions?.find(({ type }) => type === 'Ready')?.message ?? 'is not')
  },
  look: `kubectl get node ${host.name} -o wide`,
  within: 180,
  vital: true,
  hint: `ssh ${login(host)} ${sudo(host)}journalctl -e -u ${unitOf(host)}`
})

const passwordFile = '/etc/rancher/node/password'

/** The step that no stale Node has this name. K3s refuses a node that has lost its password file (k3s#6054). */
export const hasNoStaleNode = (host: Host, { kubectl, ssh }: Pick<Run, 'kubectl' | 'ssh'>, nodes: Nodes): NodeStep => ({
  name: 'has no stale Node',
  check: async () => {
    if (!(await nodes.get()).has(host.name)) return ''
    const { exitCode } = await ssh.run(host, `test -f ${passwordFile}`)
    return exitCode === 0 ? '' : 'its node password is gone: its Node is deleted, to register anew'
  },
  look: `kubectl get node ${host.name}     # "not found" is what should be, unless the next one finds the file
ssh ${login(host)} ${sudo(host)}ls ${passwordFile}`,
  change: async () => {
    await kubectl({ timeout: 90 })`delete node ${host.name} --timeout=60s`
    nodes.forget()
    await ssh.capture(host, removeOldNetwork)
  },
  byHand: `kubectl delete node ${host.name} --timeout=60s
${removeOldNetworkByHand(host)}`
})

const namesOfNodes = 'k3s kubectl --request-timeout=3s get nodes -o name'

/**
 * The step that every Node of the cluster is in the inventory: what the scripts do for the nodes they know would cut off
 * the others. The servers are asked themselves, as there may be no kubeconfig on the bastion yet.
 */
export const knowsEveryNode = ({ hosts, servers, ssh, sick }: Pick<Run, 'hosts' | 'servers' | 'ssh' | 'sick'>): ClusterStep => ({
  name: 'has only nodes that are in servers.tsv',
  always: true,
  check: async () => {
    const answers = await Promise.all(servers.filter(({ name }) => !sick().includes(name)).map((host) =>
      ssh.run(host, `! systemctl is-active --quiet k3s || ${namesOfNodes}`, { timeout: 20 }).catch((error: unknown) => {
        if (isAbort(error)) throw error
        return { exitCode: 1, stdout: '' } // a server that does not answer is told elsewhere
      })))
    const nodes = new Set(answers.flatMap(({ stdout, exitCode }) => (exitCode === 0 ? stdout.split('\n') : []))
      .map((line) => line.replace(/^node\//, '').trim()).filter(Boolean))
    const unknown = [...nodes].filter((name) => !hosts.some((host) => host.name === name)).toSorted()
    return [
      `= ${nodes.size === 0 ? 'no server knows of any node' : plural(nodes.size, 'node')}`,
      ...unknown.map((name) => `${name} is a node of the cluster, and not in servers.tsv`)
    ].join('\n')
  },
  look: `for server in ${servers.map(login).join(' ')}; do ssh "$server" ${namesOfNodes}; done     # all in servers.tsv`,
  hint: 'put its row back; or remove the node for good first: docs/workers.md, "Remove a node for good"'
})
