import { until } from '../base/wait.mts'
import { readManifest, withObjects } from '../cluster/objects.mts'
import { netcheck } from '../cluster/pod-network.mts'
import type { Host } from '../input/inventory.mts'
import type { Settings } from '../input/settings.mts'
import { get, type Answer } from '../reach/http.mts'
import type { Kubectl } from '../reach/kubectl.mts'
import { checksByHand, checkOf } from './check.mts'

/** The ports of the ingress controller on each node beside 80 and 443: readiness, and metrics. Nothing outside may reach them. */
export const privatePorts = [8081, 9113]

type Times = { drain: number; minReady: number; grace: number }

/**
 * How long a pod takes to leave and the next to count, in seconds: a pod that is told to go fails its check until the
 * slowest load balancer has let go of it, and the next node's turn comes when it has taken this one back.
 */
export const updateTimes = ({ ingress: { health_check: { interval, timeout, retries } } }: Settings): Times => {
  // One interval more, for checks that are late.
  const drain = retries * (interval + timeout) + interval
  // nginx lets its last requests end for at most two minutes (worker-shutdown-timeout).
  return { drain, minReady: retries * interval + timeout + interval, grace: drain + 130 }
}

const isProxied = ({ ingress }: Settings): boolean => ingress.client_address === 'proxy-protocol'

/** What fills in the placeholders of manifests/05_ingress. */
export const manifestValues = (settings: Settings) => {
  const { ingress: { image, client_address, health_check }, load_balancers: { http } } = settings
  const { drain, minReady, grace } = updateTimes(settings)
  return {
    config: {
      PROXY_PROTOCOL: isProxied(settings) ? 'True' : 'False',
      REAL_IP_HEADER: isProxied(settings) ? 'proxy_protocol' : 'X-Forwarded-For',
      // nginx takes no empty list; nobody comes by a socket.
      REAL_IP_FROM: client_address === 'none' || http.length === 0 ? 'unix:' : http.join(','),
      STATUS_ADDRESS: http[0] ?? '',
      LISTEN_OPTIONS: isProxied(settings) ? 'proxy_protocol' : '',
      HEALTH_HOSTS: health_check.host,
      HEALTH_PATH: health_check.path
    },
    daemonset: { IMAGE: image, MIN_READY_SECONDS: minReady, TERMINATION_GRACE_SECONDS: grace, DRAIN_SECONDS: drain }
  }
}

/** What an answer was, in words. */
export const inWords = ({ status, error }: Answer): string => error ?? `HTTP ${status}`

/** `name` keeps apart what runs at the same time. */
type CanaryContext = { kubectl: Kubectl; signal: AbortSignal; name: string }

/**
 * Makes an Ingress to the netcheck pods under a name of its own, runs `use` with that name, and removes it, also when
 * the run is interrupted. GET /name with that host is answered by the name of the node whose pod it reached.
 */
export const withCanary = async <Result,>({ kubectl, signal, name }: CanaryContext, use: (host: string) => Promise<Result>): Promise<Result> => {
  const { host, manifest } = await canaryOf(name)
  return withObjects({ kubectl, manifest, signal }, () => use(host))
}

const canaryOf = async (name: string): Promise<{ host: string; manifest: string }> => {
  const { namespace, service } = netcheck
  const host = `${name}.keybuzz.internal`
  return { host, manifest: await readManifest('05_ingress/canary.yaml', { NAME: name, NAMESPACE: namespace, SERVICE: service, HOST: host }) }
}

/** The canary as an operator tries it by hand: through each of the nodes, and through every load balancer. */
export const canaryByHand = async (name: string, nodes: Host[], settings: Settings): Promise<string> => {
  const { host, manifest } = await canaryOf(name)
  const check = { ...checkOf(settings), host, path: '/name', timeout: 5 }
  const { http } = settings.load_balancers
  return [
    `kubectl apply -f - <<'END'\n${manifest.trimEnd()}\nEND`,
    'sleep 5  # the name of a node must be the answer everywhere',
    checksByHand(nodes.map(({ address }) => address), check),
    ...(http.length > 0 ? [checksByHand(http, { ...check, proxyProtocol: false })] : []),
    `kubectl -n ${netcheck.namespace} delete ingress ${name}`
  ].join('\n')
}

type Asked = { name: string; address: string; proxyProtocol: boolean; times: number }

/**
 * Has a canary answered through each of the nodes by itself and through every load balancer, there several times. A
 * pod on any of `all` may answer. Returns in words which did not; waits up to a minute for the controllers to take the
 * canary up.
 */
export const canaryFaults = async (
  context: CanaryContext,
  { nodes, all }: { nodes: Host[]; all: Host[] },
  settings: Settings,
  ask: typeof get = get
): Promise<string> => {
  const proxyProtocol = isProxied(settings)
  const targets: Asked[] = [
    ...nodes.map(({ name, address }) => ({ name: `${name} (${address})`, address, proxyProtocol, times: 1 })),
    ...settings.load_balancers.http.map((address) => ({
      name: `the load balancer ${address}`, address, proxyProtocol: false, times: all.length
    }))
  ]
  return withCanary(context, async (host) => {
    const faultOf = async ({ name, address, proxyProtocol, times }: Asked): Promise<string> => {
      for (let time = 1; time <= times; time++) {
        const answer = await ask(address, { host, path: '/name', proxyProtocol })
        if (answer.status !== 200) return `not answered through ${name}: ${inWords(answer)}`
        if (!all.some((node) => node.name === answer.body?.trim())) return `${name} is answered by something else than the canary`
      }
      return ''
    }
    const faults = async (): Promise<string> => (await Promise.all(targets.map(faultOf))).filter(Boolean).join('\n')
    const words = await until(faults, { seconds: 60, signal: context.signal })
    return words === '' ? `= answered through ${targets.map(({ name }) => name).join(', ')}` : words
  })
}
