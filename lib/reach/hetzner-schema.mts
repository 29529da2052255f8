// The answers of Hetzner's API, and the types that the scripts make from them.
import { z } from 'zod'

/** What a load balancer does with one of its ports, and how it checks its targets. */
export type Service = {
  protocol: string
  listenPort: number
  destinationPort: number
  proxyProtocol: boolean
  check: {
    protocol: string
    port: number
    /** Seconds. */
    interval: number
    timeout: number
    /** Results in a row that change the health of a target. */
    retries: number
    /** Only for a check in HTTP. Without a domain no Host header is sent. The response is text that must be in the body. */
    http?: { domain: string; path: string; response: string; statusCodes: string[]; tls: boolean }
  }
}

/** A machine that a load balancer sends traffic to. */
export type Target = {
  /** The address that the traffic goes to, or '' where the project has no such server. */
  address: string
  /** The name of the server at Hetzner, or another text for it. */
  name: string
  usePrivate: boolean
  /** The label selector that chose it, or '' where it is a target by itself. */
  selector: string
  /** "healthy", "unhealthy" or "unknown", for each port that the load balancer listens on. */
  health: { port: number; status: string }[]
}

export type LoadBalancer = {
  id: number
  name: string
  /** First those in its networks, then the public ones. */
  addresses: string[]
  services: Service[]
  targets: Target[]
  /** Label selectors that choose no server. */
  emptySelectors: string[]
}

const network = z.object({ network: z.number(), ip: z.string() })
const machine = z.object({
  type: z.string(),
  server: z.object({ id: z.number() }).nullish(),
  ip: z.object({ ip: z.string() }).nullish(),
  use_private_ip: z.boolean().nullish(),
  health_status: z.array(z.object({ listen_port: z.number(), status: z.string() })).nullish()
})

export const balancerSchema = z.object({
  id: z.number(),
  name: z.string(),
  public_net: z.object({ ipv4: z.object({ ip: z.string().nullish() }).nullish() }).nullish(),
  private_net: z.array(network).nullish(),
  services: z.array(z.object({
    protocol: z.string(),
    listen_port: z.number(),
    destination_port: z.number(),
    proxyprotocol: z.boolean(),
    health_check: z.object({
      protocol: z.string(),
      port: z.number(),
      interval: z.number(),
      timeout: z.number(),
      retries: z.number(),
      http: z.object({
        domain: z.string().nullish(),
        path: z.string(),
        response: z.string().nullish(),
        status_codes: z.array(z.coerce.string()).nullish(),
        tls: z.boolean().nullish()
      }).nullish()
    })
  })),
  targets: z.array(machine.extend({
    label_selector: z.object({ selector: z.string() }).nullish(),
    targets: z.array(machine).nullish()
  }))
})

export const serverSchema = z.object({
  id: z.number(),
  name: z.string(),
  status: z.string(),
  public_net: z.object({ ipv4: z.object({ ip: z.string() }).nullish() }).nullish(),
  private_net: z.array(network)
})

export const actionSchema = z.object({
  action: z.object({
    id: z.number(),
    status: z.enum(['running', 'success', 'error']),
    error: z.object({ code: z.string(), message: z.string() }).nullish()
  })
})

export const pageSchema = z.object({ meta: z.object({ pagination: z.object({ next_page: z.number().nullable() }) }) })
export const errorSchema = z.object({ error: z.object({ code: z.string(), message: z.string() }) })

type RawBalancer = z.infer<typeof balancerSchema>
export type RawServer = z.infer<typeof serverSchema>

/** The load balancers of an answer. Their targets get names and addresses from the project's servers. */
export const balancersOf = (balancers: RawBalancer[], servers: RawServer[]): LoadBalancer[] => {
  const byId = new Map(servers.map((server) => [server.id, server]))
  return balancers.map((balancer) => balancerOf(balancer, byId))
}

const balancerOf = (raw: RawBalancer, servers: Map<number, RawServer>): LoadBalancer => {
  const networks = raw.private_net ?? []
  const targetOf = (one: z.infer<typeof machine>, selector: string): Target => ({
    ...placeOf(one, networks, servers),
    usePrivate: one.use_private_ip ?? false,
    selector,
    health: (one.health_status ?? []).map(({ listen_port: port, status }) => ({ port, status }))
  })
  return {
    id: raw.id,
    name: raw.name,
    addresses: [...networks.map(({ ip }) => ip), raw.public_net?.ipv4?.ip ?? ''].filter(Boolean),
    services: raw.services.map(({ health_check: { http, ...check }, ...service }) => ({
      protocol: service.protocol,
      listenPort: service.listen_port,
      destinationPort: service.destination_port,
      proxyProtocol: service.proxyprotocol,
      check: {
        ...check,
        ...(http
          ? {
            http: {
              ...{ domain: http.domain ?? '', path: http.path, response: http.response ?? '' },
              ...{ statusCodes: http.status_codes ?? [], tls: http.tls ?? false }
            }
          }
          : {})
      }
    })),
    targets: raw.targets.flatMap((one) =>
      one.type === 'label_selector'
        ? (one.targets ?? []).map((chosen) => targetOf(chosen, one.label_selector?.selector ?? ''))
        : [targetOf(one, '')]
    ),
    emptySelectors: raw.targets
      .filter(({ type, targets }) => type === 'label_selector' && !targets?.length)
      .map((one) => one.label_selector?.selector ?? '')
  }
}

// A private target is reached in the network that it shares with the load balancer.
const placeOf = (
  { server, ip, use_private_ip: isPrivate }: z.infer<typeof machine>,
  networks: { network: number }[],
  servers: Map<number, RawServer>
): Pick<Target, 'address' | 'name'> => {
  if (ip) return { address: ip.ip, name: ip.ip }
  const known = server ? servers.get(server.id) : undefined
  if (!known) return { address: '', name: server ? `server ${server.id}` : 'a target of a kind unknown here' }
  const shared = known.private_net.find(({ network: id }) => networks.some((one) => one.network === id))
  const address = isPrivate ? shared?.ip : known.public_net?.ipv4?.ip
  return { address: address ?? '', name: known.name }
}
