#!/usr/bin/env node
// 09_k3s_05  Install the ingress on every node
//
// NGINX (F5's controller) as a DaemonSet in the network of each node, servers too: a request that a public load
// balancer sends to any node reaches its pod from there. A DaemonSet, never a Deployment: each node answers for itself.
// Updates go from node to node: a pod first fails the load balancers' health check, leaves when they have let go of it,
// and the next node's turn comes when they have taken this one back. Then a canary must answer through every node and
// both load balancers.
//
// Needs:   09_k3s_04. Both load balancers: targets are all nodes on 80 (and 443), health check and PROXY protocol as
//          `ingress` in the settings says (docs/ingress.md).
// Changes: the namespace nginx-ingress, the IngressClass nginx, the ClusterRole nginx-ingress; for the time of the
//          proof the Ingress canary in keybuzz-netcheck.
// Undo:    `kubectl delete namespace nginx-ingress` and the two others. All requests from outside fail from then on.
// Example: ./09_k3s_05_ingress_daemonset.mts --plan

import { connect } from 'node:net'
import { milliseconds } from './lib/base/words.mts'
import { artifacts } from './lib/reach/release.mts'
import { certificateStep, readPair } from './lib/cluster/certificate.mts'
import type { Run } from './lib/run/run.mts'
import {
  canaryFaults, checkBalancer, checkHealth, inWords, manifestValues, privatePorts, updateTimes
} from './lib/ingress/ingress.mts'
import type { Host } from './lib/input/inventory.mts'
import { createKubectl, manifestStep, type Kubectl } from './lib/reach/kubectl.mts'
import { readManifest } from './lib/cluster/objects.mts'
import { operate, type Script } from './lib/run/script.mts'
import { contextOf, type Settings } from './lib/input/settings.mts'
import type { Step } from './lib/run/step.mts'

const namespace = 'nginx-ingress'

export const installIngress: Script = {
  id: '09_k3s_05',
  title: 'Install the ingress on every node',
  flags: { artifacts: '--artifacts DIR    a folder that holds the files of the K3s release already' },
  story: async (run) => {
    const { settings, hosts, signal } = run
    const { k3s } = await artifacts(settings, { dir: run.flags['artifacts'], signal, say: run.note })
    const kubectl = createKubectl(k3s.file, contextOf(settings))
    const { certificate } = settings.ingress
    const pair = certificate === '' ? undefined : await readPair(certificate)
    const { config, daemonset } = manifestValues(settings)
    const configuration = await readManifest('05_ingress/config.yaml', config)

    await run.on(hosts, () => [hasPortsFree])
    await run.once([
      hasNoRival(kubectl),
      manifestStep(kubectl, 'has the namespace', await readManifest('05_ingress/namespace.yaml')),
      manifestStep(kubectl, 'has what the controller may do', await readManifest('05_ingress/rbac.yaml')),
      certificateStep(kubectl, { namespace, secret: 'default-server-tls' }, pair),
      manifestStep(kubectl, 'has the class nginx and the configuration', configuration),
      manifestStep(kubectl, 'has the DaemonSet', await readManifest('05_ingress/daemonset.yaml', daemonset)),
      runsEverywhere(kubectl, run)
    ])
    await run.on(hosts, (host) => [answersTheCheck(host, settings), keepsItsOtherPorts(host)])
    await run.once([
      answersThroughBalancers(settings),
      hasRefusedNothing(kubectl, settings.ingress.health_check),
      {
        name: 'carries a canary through every node and both load balancers',
        trial: true,
        check: () => {
          const nodes = run.chosen.filter(run.stands)
          return canaryFaults({ kubectl, signal, name: 'canary' }, { nodes, all: hosts }, settings)
        }
      }
    ])
  }
}

// nginx itself is in a pod's cgroup; one that was installed on the node is not.
const hasPortsFree: Step = {
  name: 'has 80 and 443 for the ingress',
  always: true,
  check: `ss -Hltnp '( sport = :80 or sport = :443 )' | while read -r _ _ _ address _ users; do
  for pid in $(grep -o 'pid=[0-9]*' <<<"$users" | cut -d= -f2 | sort -u); do
    grep -q kubepods "/proc/$pid/cgroup" 2>/dev/null ||
      echo "$address is taken by $(ps -o comm= -p "$pid") (process $pid): $(ps -o args= -p "$pid" | cut -c1-80)"
  done
done`,
  hint: 'stop it and keep it from starting: systemctl disable --now UNIT, or docker stop CONTAINER'
}

// Pods take ports of the node without a process that listens there: Traefik, and the pods of K3s's servicelb.
const hasNoRival = (kubectl: Kubectl): Step => ({
  name: 'has no other pod with its ports',
  check: async () => {
    const ports = [80, 443, ...privatePorts]
    const row = '{.metadata.namespace}/{.metadata.name} {.spec.containers[*].ports[*].hostPort}{"\\n"}'
    const lines = (await kubectl(['get', 'pods', '-A', '-o', `jsonpath={range .items[*]}${row}{end}`])).split('\n')
    const rivals = lines.map((line) => line.trim().split(' ')).filter(([pod = '', ...taken]) =>
      !pod.startsWith(`${namespace}/`) && taken.some((port) => ports.includes(Number(port)))
    )
    return rivals.map(([pod = '', ...taken]) =>
      `${pod} has the port${taken.length > 1 ? 's' : ''} ${taken.join(', ')} of its node${causeOf(pod)}`
    ).join('\n')
  },
  hint: 'kubectl get pods -A -o wide | grep -E "traefik|svclb"'
})

const causeOf = (pod: string): string => {
  if (!/^kube-system\/(traefik|svclb)-/.test(pod)) return ''
  return ": K3s's own Traefik and servicelb are on; 09_k3s_02 turns them off"
}

type DaemonSet = {
  metadata: { generation: number }
  status?: {
    observedGeneration?: number
    desiredNumberScheduled?: number
    updatedNumberScheduled?: number
    numberAvailable?: number
  }
}

const runsEverywhere = (kubectl: Kubectl, { hosts, settings }: Run): Step => {
  const { grace, minReady } = updateTimes(settings)
  return {
    name: 'runs on every node, and nothing older',
    check: async () => {
      const { metadata, status = {} } = JSON.parse(
        await kubectl(['-n', namespace, 'get', 'daemonset', 'nginx-ingress', '-o', 'json'])
      ) as DaemonSet
      const { observedGeneration = 0, desiredNumberScheduled: wanted = 0 } = status
      const { updatedNumberScheduled: updated = 0, numberAvailable: available = 0 } = status
      if (observedGeneration < metadata.generation) return 'the change is not taken up yet'
      if (wanted !== hosts.length) return `is meant for ${wanted} nodes of ${hosts.length}`
      const counts = `${updated} of ${wanted} are up to date, ${available} available`
      if (updated === wanted && available === wanted) return `= ${counts}: ${await versionOf(kubectl)}`
      return `${counts}\n${await troubles(kubectl)}`
    },
    within: 120 + hosts.length * (grace + minReady),
    hint: `kubectl -n ${namespace} get pods -o wide; kubectl -n ${namespace} logs POD`
  }
}

const inPod = (kubectl: Kubectl, ...command: string[]): Promise<string> =>
  kubectl(['-n', namespace, 'exec', 'daemonset/nginx-ingress', '--', ...command])

const versionOf = async (kubectl: Kubectl): Promise<string> =>
  (await inPod(kubectl, '/nginx-ingress', '-version')).split('\n')[0] ?? ''

type Pod = {
  metadata: { name: string; deletionTimestamp?: string }
  spec: { nodeName?: string }
  status: {
    containerStatuses?: {
      ready: boolean
      state: { waiting?: { reason: string; message?: string } }
      lastState: { terminated?: object }
    }[]
  }
}

// Why pods are not ready: what the kubelet waits for, and the last error that nginx or its controller told.
const troubles = async (kubectl: Kubectl): Promise<string> => {
  const pods = await kubectl(['-n', namespace, 'get', 'pods', '-l', 'app=nginx-ingress', '-o', 'json'])
  const { items } = JSON.parse(pods) as { items: Pod[] }
  const lines = await Promise.all(items.map(async ({ metadata, spec, status }) => {
    const [container] = status.containerStatuses ?? []
    if (container?.ready) return ''
    if (metadata.deletionTimestamp !== undefined) return `${spec.nodeName}: the old pod is leaving`
    const { reason = 'is starting', message = '' } = container?.state.waiting ?? {}
    const crashed = container?.lastState.terminated ? ['--previous'] : []
    const log = await kubectl(['-n', namespace, 'logs', metadata.name, '--tail=50', ...crashed]).catch(() => '')
    const error = log.split('\n').findLast((line) => /\[emerg\]|^[EF]\d{4}|level=(ERROR|FATAL)|fatal/i.test(line)) ?? ''
    return `${spec.nodeName ?? 'no node'}: ${[reason, message, error].filter(Boolean).join(': ')}`
  }))
  return lines.filter(Boolean).join('\n')
}

const answersTheCheck = (host: Host, settings: Settings): Step => ({
  name: "answers the load balancers' health check",
  check: async () => {
    const answer = await checkHealth(host, settings)
    if (answer.status === 200) return `= 200 in ${milliseconds(answer.milliseconds)} ms`
    const { client_address, health_check: { path } } = settings.ingress
    const proxied = client_address === 'proxy-protocol'
    if ((await checkHealth(host, settings, !proxied)).status === 200) {
      return `answers only ${proxied ? 'without' : 'with'} PROXY protocol; ingress.client_address is ${client_address}`
    }
    return `${path} on ${host.address}: ${inWords(answer)}`
  },
  within: 60,
  hint: './09_k3s_test_healthcheck.mts says what the answer means'
})

const keepsItsOtherPorts = (host: Host): Step => ({
  name: `keeps ${privatePorts.join(' and ')} to the cluster`,
  check: async () => {
    const open = await Promise.all(
      privatePorts.map(async (port) => ((await isOpen(host.address, port)) ? `${port} is open` : ''))
    )
    return open.filter(Boolean).join('\n')
  },
  hint: '09_k3s_01 sets the firewall'
})

const isOpen = (address: string, port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect({ host: address, port, timeout: 1000 })
    const settle = (open: boolean) => (): void => {
      socket.destroy()
      resolve(open)
    }
    socket.on('connect', settle(true)).on('timeout', settle(false)).on('error', settle(false))
  })

const answersThroughBalancers = (settings: Settings): Step => {
  const { load_balancers: { http }, ingress: { client_address, health_check: { path } } } = settings
  const proxied = client_address === 'proxy-protocol' ? 'on' : 'off'
  return {
    name: 'answers through both load balancers',
    check: async () => {
      const lines = await Promise.all(http.map(async (address) => {
        const answer = await checkBalancer(address, settings)
        if (answer.status === 200) return `= ${address} in ${milliseconds(answer.milliseconds)} ms`
        return `${address}${path}: ${inWords(answer)}`
      }))
      return lines.length > 0 ? lines.join('\n') : '= the settings have none'
    },
    within: 120,
    hint: 'the nodes themselves answer. At the load balancer: are they its targets on port 80, is PROXY protocol '
      + `${proxied} (ingress.client_address is ${client_address}), is the health check GET ${path} on 80?`
  }
}

type Event = {
  involvedObject: { kind: string; namespace?: string; name: string }
  type: string
  message: string
}

type Ingress = { metadata: { namespace: string; name: string }; spec: { ingressClassName?: string; rules?: { host?: string }[] } }

// An Ingress that the controller refuses is answered by 404. An event tells why, for an hour; after that only that nginx
// has no file of it does.
const hasRefusedNothing = (kubectl: Kubectl, check: Settings['ingress']['health_check']): Step => ({
  name: 'has refused no Ingress, and nothing of its configuration',
  check: async () => {
    const list = async <Item,>(...args: string[]): Promise<Item[]> =>
      (JSON.parse(await kubectl(['get', ...args, '-A', '-o', 'json'])) as { items: Item[] }).items
    const events = await list<Event>('events', '--sort-by=.lastTimestamp')
    const ingresses = (await list<Ingress>('ingress')).filter(({ spec }) => spec.ingressClassName === 'nginx')
    const files = (await inPod(kubectl, 'ls', '/etc/nginx/conf.d')).split('\n')
    const reason = (kind: string, where: string, name?: string): string => {
      const latest = events.findLast(({ involvedObject: object }) =>
        object.kind === kind && object.namespace === where && (name === undefined || object.name === name)
      )
      return latest?.type === 'Warning' ? latest.message : ''
    }
    const configured = reason('ConfigMap', namespace)
    const refused = ingresses.map(({ metadata: { namespace: where, name }, spec: { rules = [] } }) => {
      const words = reason('Ingress', where, name) || (files.includes(`${where}-${name}.conf`) ? '' : 'nginx has nothing of it')
      // nginx would take all its requests for the load balancers' own.
      const taken = check.host !== '' && rules.some(({ host }) => host === check.host)
      return [words, taken ? `has the name of the health check, ${check.host}` : '']
        .filter(Boolean).map((one) => `Ingress ${where}/${name}: ${one}`).join('\n')
    })
    const words = [configured && `ConfigMap nginx-config: ${configured}`, ...refused].filter(Boolean)
    return words.length > 0 ? words.join('\n') : `= ${ingresses.length} Ingresses`
  },
  within: 15, // one that was just made is being read
  hint: 'until it is mended, its names are answered by 404'
})

if (import.meta.main) await operate([installIngress], import.meta.filename)
