import type { Host } from '../input/inventory.mts'
import type { Settings } from '../input/settings.mts'
import type { LoadBalancer } from '../reach/hetzner-schema.mts'
import type { ClusterStep } from '../run/step.mts'

/** The load balancers in front of this cluster, and in words which are missing. */
export const ownBalancers = (all: LoadBalancer[], wanted: string[]): { own: LoadBalancer[]; missing: string[] } => {
  const has = all.map(({ name, addresses }) => `${name} (${addresses.join(', ')})`).join(', ') || 'none'
  return {
    own: all.filter(({ addresses }) => addresses.some((address) => wanted.includes(address))),
    missing: wanted
      .filter((address) => !all.some(({ addresses }) => addresses.includes(address)))
      .map((address) => `no load balancer has the address ${address}; the token's project has ${has}`)
  }
}

const toNodes = ({ services }: LoadBalancer) => services.filter(({ destinationPort }) => [80, 443].includes(destinationPort))

/** What is configured otherwise at a load balancer than the settings and servers.tsv say, a line each. */
export const compareBalancer = (balancer: LoadBalancer, settings: Settings, hosts: Host[]): string[] => {
  const services = toNodes(balancer)
  const addresses = hosts.flatMap(({ address, publicAddress }) => [address, publicAddress])
  return [
    ...(services.length === 0 ? ['no service sends to port 80 or 443 of the nodes: add one'] : []),
    ...services.flatMap((service) => compareService(service, settings).map((line) => `port ${service.listenPort}: ${line}`)),
    ...balancer.targets
      .filter(({ address }) => address === '' || !addresses.includes(address))
      .map(({ name, address, selector }) => `target ${name}${address && address !== name ? ` (${address})` : ''} is no node of servers.tsv: ${
        selector === '' ? 'take it out' : `the label selector ${selector} chooses it`}`),
    ...balancer.emptySelectors.map((selector) => `the label selector ${selector} chooses no server: correct it, or the servers' labels`)
  ]
}

const compareService = (service: LoadBalancer['services'][number], settings: Settings): string[] => {
  const { health_check: wanted, client_address: clientAddress } = settings.ingress
  const { check } = service
  const numbers = (['interval', 'timeout', 'retries'] as const)
    .filter((key) => check[key] !== wanted[key])
    .map((key) => `${key} is ${check[key]}, ingress.health_check.${key} says ${wanted[key]}`)
  const proxy = clientAddress === 'proxy-protocol'
  return [
    ...(service.protocol !== 'tcp' && service.destinationPort === 443 ? ['speaks plain HTTP to port 443 of the nodes: send it to 80'] : []),
    ...(check.port === 80 ? [] : [`checks port ${check.port}: let it check 80`]),
    ...numbers,
    ...(check.http ? compareHttp(check.http, wanted) : [`the check is ${check.protocol}, which proves an open port only: make it http`]),
    ...(service.proxyProtocol === proxy
      ? []
      : [`the PROXY protocol is ${service.proxyProtocol ? 'on' : 'off'}, ingress.client_address is ${clientAddress}: `
        + 'with one end only every request fails']),
    ...(clientAddress === 'x-forwarded-for' && service.protocol === 'tcp'
      ? ['passes TCP through, so there is no X-Forwarded-For, which ingress.client_address asks for: the clients\' addresses are lost']
      : [])
  ]
}

const orNone = (value: string): string => (value === '' ? 'none' : value)

const compareHttp = (
  http: NonNullable<LoadBalancer['services'][number]['check']['http']>,
  wanted: Settings['ingress']['health_check']
): string[] => [
  ...(http.path === wanted.path ? [] : [`the path is ${http.path}, ingress.health_check.path says ${wanted.path}`]),
  ...(http.domain === wanted.host ? [] : [`the domain is ${orNone(http.domain)}, ingress.health_check.host says ${orNone(wanted.host)}`]),
  ...(http.statusCodes.join() === '200' ? [] : [`counts ${http.statusCodes.join(', ') || 'any status'} as healthy: let it count 200 alone`]),
  ...(http.response === '' ? [] : [`expects the text "${http.response}" in the answer, which has none: take it out`]),
  ...(http.tls ? ['checks with TLS, and the nodes\' port 80 speaks plain HTTP: turn it off'] : [])
]

// "unhealthy on 80, unknown on 443"
const inPorts = (health: { port: number; status: string }[]): string =>
  [...new Set(health.map(({ status }) => status))]
    .map((status) => `${status} on ${health.filter((one) => one.status === status).map(({ port }) => port).join(' and ')}`)
    .join(', ')

/** What the load balancers know of a host, and where that differs from what was found from here. */
export const compareTarget = (
  host: Host,
  balancers: LoadBalancer[],
  passed: boolean,
  { out, back }: { out: number; back: number }
): { differs: string[]; evidence: string[] } => {
  const differs: string[] = []
  const evidence: string[] = []
  for (const balancer of balancers) {
    const target = balancer.targets.find(({ address }) => address === host.address)
      ?? balancer.targets.find(({ address }) => address !== '' && address === host.publicAddress)
    if (!target) {
      differs.push(`is no target of ${balancer.name}: add it there`)
      continue
    }
    if (target.address !== host.address) differs.push(`is reached by ${balancer.name} over its public address: turn use_private_ip on`)
    const ports = toNodes(balancer).map(({ listenPort }) => listenPort)
    const known = target.health.filter(({ port }) => ports.includes(port))
    const wrong = known.filter(({ status }) => passed !== (status === 'healthy'))
    if (wrong.length > 0 && passed) {
      differs.push(`is ${inPorts(wrong)} for ${balancer.name}, though the check is answered 200 from here: `
        + `within ${back} s it should be taken back; else look at what that one checks, and from which address`)
    } else if (wrong.length > 0) {
      differs.push(`is ${inPorts(wrong)} for ${balancer.name}, though the check fails from here: `
        + `within ${out} s it should be let go; else look at what that one checks`)
    }
    const statuses = known.map(({ port, status }) => `${port} ${status}`).join(', ') || 'no status yet'
    evidence.push(`${balancer.name}: ${statuses}`)
  }
  return { differs, evidence }
}

/** The steps that the load balancers are there, and configured as the settings and servers.tsv say. */
export const balancerSteps = (found: LoadBalancer[], settings: Settings, hosts: Host[]): ClusterStep[] => {
  const { own, missing } = ownBalancers(found, settings.load_balancers.http)
  return [
    {
      name: 'has its load balancers at Hetzner',
      check: async () => [...missing, ...own.map(({ name, targets }) => `= ${name} with ${targets.length} targets`)].join('\n'),
      look: 'hcloud load-balancer list',
      hint: 'correct load_balancers.http in the settings, or take a token of the project that has them'
    },
    ...own.map((balancer) => ({
      name: `is checked by ${balancer.name} as the settings say`,
      check: async () => compareBalancer(balancer, settings, hosts).join('\n'),
      look: `hcloud load-balancer describe ${balancer.name}`,
      hint: 'change it at the load balancer, or in the settings where that is what you want'
    }))
  ]
}
