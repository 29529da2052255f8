import { formatAddress, parseCidr } from '../base/ipv4.mts'
import type { Settings } from '../input/settings.mts'

/** Each node has a /24 of the cluster's network (kube-controller-manager: --node-cidr-mask-size-ipv4). */
const nodeRange = 2 ** 8

/**
 * The addresses that the ingress comes from, as a list for a NetworkPolicy. nginx is in the network of its node: pods see
 * its packets as the first address of that node's range (flannel.1), or the second (cni0). No pod ever has one of these.
 * All ranges are in the list, also those of nodes to come: a new node's requests are never refused.
 */
export const ingressSources = ({ network }: Settings): string => {
  const { base, prefix } = parseCidr(network.cluster_cidr)!
  const nodes = 2 ** (32 - prefix) / nodeRange
  return JSON.stringify(Array.from({ length: nodes }, (_, index) =>
    ({ ipBlock: { cidr: `${formatAddress(base + index * nodeRange)}/31` } })))
}

/** What is not the internet: private, shared (RFC 6598) and link-local networks, where the hosting metadata is too. */
export const notOutside = JSON.stringify(['10.0.0.0/8', '100.64.0.0/10', '169.254.0.0/16', '172.16.0.0/12', '192.168.0.0/16'])
