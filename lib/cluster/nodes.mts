import type { Kubectl } from '../reach/kubectl.mts'

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
