import { formatCidr, isLoopback, isPrivate, parseAddress, parseCidr } from '../../base/ipv4.mts'
import { isDomain } from '../../base/names.mts'
import { address, integer, list, port, section, text } from './fields.mts'

const nameserver = () =>
  text('an IPv4 address', (value) => parseAddress(value) !== undefined).refine(
    (value) => !isLoopback(parseAddress(value) ?? 0),
    {
      error: 'an address that is not loopback: CoreDNS would ask itself, in a loop',
      params: { remedy: 'Name the resolvers themselves, such as 1.1.1.1.' }
    }
  )

const cidr = (least: number, most: number, example: string) =>
  text(`a network such as ${example}, /${least} to /${most}, without host bits`, (value) => {
    const network = parseCidr(value)
    return network !== undefined && formatCidr(network) === value && network.prefix >= least && network.prefix <= most
  })

/** The nodes' own network, and those of pods and services. */
export const network = section({
  private_cidr: cidr(8, 30, '10.0.0.0/16').refine((value) => isPrivate(parseCidr(value) ?? { base: 0, prefix: 0 }), {
    error: 'a private network: all of it may reach the API, etcd and the kubelets',
    params: { remedy: 'Name the network that IP_PRIVEE comes from, such as 10.0.0.0/16.' }
  }).default('10.0.0.0/16'),
  nameservers: list(nameserver(), 1, 3, 'IPv4 addresses').default(['1.1.1.1', '8.8.8.8']),
  mtu: integer(1280, 9000, 'bytes').default(1450),
  cluster_cidr: cidr(8, 24, '10.42.0.0/16').default('10.42.0.0/16'),
  service_cidr: cidr(12, 24, '10.43.0.0/16').default('10.43.0.0/16'),
  cluster_dns: text('an IPv4 address', (value) => parseAddress(value) !== undefined).default('10.43.0.10'),
  cluster_domain: text('a domain name of two labels or more, in lower case', isDomain).default('cluster.local')
})

/** In front of the API, and of the ingress. */
export const loadBalancers = section({
  api: section({
    address: address().default('10.0.0.10'),
    port: port().default(6443),
    names: list(
      text('a domain name or an IPv4 address', (value) => isDomain(value) || parseAddress(value) !== undefined),
      0, 32, 'names'
    ).default([])
  }),
  http: list(address(), 0, 16, 'IPv4 addresses').default(['10.0.0.5', '10.0.0.6'])
})
