import type { Kubectl } from '../reach/kubectl.mts'
import type { ClusterStep } from '../run/step.mts'
import { readManifest } from './objects.mts'

/**
 * The objects of a tenant's namespace. The ingress reaches its pods from each node's end of the pod network: the first
 * address of the node's range (flannel.1) and the second (cni0).
 */
export const tenantManifest = async (kubectl: Kubectl, tenant: string): Promise<string> => {
  const ranges = (await kubectl`get nodes -o 'jsonpath={.items[*].spec.podCIDR}'`).split(' ').filter(Boolean)
  const ends = ranges.map((range) => range.replace(/\/\d+$/, '')).flatMap((first) => [first, first.replace(/\d+$/, '1')])
  return readManifest('04_addons/tenant.yaml', {
    TENANT: tenant,
    INGRESS_SOURCES: JSON.stringify(ends.map((address) => ({ ipBlock: { cidr: `${address}/32` } })))
  })
}

/** The step that the API would accept a tenant's objects. Else a bad template is found only with the first tenant. */
export const takesTenants = (kubectl: Kubectl): ClusterStep => ({
  name: "would take a tenant's namespace, quota and network policies",
  check: async () => {
    const manifest = await tenantManifest(kubectl, 'default')
    await kubectl({ input: manifest })`apply --server-side --force-conflicts --dry-run=server -f -`
    return ''
  },
  look: `# In the folder of the scripts:
sed 's/[$]{TENANT}/default/; s/[$]{INGRESS_SOURCES}/[]/' manifests/04_addons/tenant.yaml |
  kubectl apply --server-side --force-conflicts --dry-run=server -f -`
})
