import type { Kubectl } from '../reach/kubectl.mts'
import { readManifest } from './objects.mts'

/**
 * The objects of a tenant's namespace. The ingress reaches its pods from each node's end of the pod network: the first
 * address of the node's range (flannel.1) and the second (cni0).
 */
export const tenantManifest = async (kubectl: Kubectl, tenant: string): Promise<string> => {
  const ranges = (await kubectl(['get', 'nodes', '-o', 'jsonpath={.items[*].spec.podCIDR}'])).split(' ').filter(Boolean)
  const ends = ranges.map((range) => range.replace(/\/\d+$/, '')).flatMap((first) => [first, first.replace(/\d+$/, '1')])
  return readManifest('04_addons/tenant.yaml', {
    TENANT: tenant,
    INGRESS_SOURCES: JSON.stringify(ends.map((address) => ({ ipBlock: { cidr: `${address}/32` } })))
  })
}
