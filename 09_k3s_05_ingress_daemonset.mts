#!/usr/bin/env -S sh -c 'exec "$(dirname "$(readlink -f "$0")")/lib/run/start.sh" "$0" "$@"'
// 09_k3s_05  Install the ingress on every node
//
// NGINX (F5's controller) as a DaemonSet on every node, servers too, in the network of the node: a public load balancer
// may send a request to any node. Never a Deployment: each node must answer for itself.
// Updates go from node to node. A pod first fails the load balancers' health check, and leaves when they have let go of
// it. The next node's turn comes when they have taken this one back. At the end a canary must answer through every node
// and both load balancers.
//
// Needs:   09_k3s_04. Both load balancers: targets are all nodes on 80 (and 443), health check and PROXY protocol as
//          `ingress` in the settings says (docs/ingress.md).
// Changes: the namespace nginx-ingress, the IngressClass nginx, the ClusterRole nginx-ingress; for the time of the
//          proof the Ingress canary in keybuzz-netcheck.
// Undo:    `kubectl delete namespace nginx-ingress` and the two others. All requests from outside fail from then on.
// Example: ./09_k3s_05_ingress_daemonset.mts --plan

import { milliseconds } from './lib/base/words.mts'
import { certificateStep, readPair } from './lib/cluster/certificate.mts'
import { manifestStep, readManifest } from './lib/cluster/objects.mts'
import { getPods, isReady, rolledOut } from './lib/cluster/pods.mts'
import { checkOf, checksByHand, makeCheck, passes, type Check } from './lib/ingress/check.mts'
import { canaryByHand, canaryFaults, inWords, manifestValues, privatePorts, updateTimes } from './lib/ingress/ingress.mts'
import { hasRefusedNothing } from './lib/ingress/refused.mts'
import { hasNoRival, hasPortsFree } from './lib/ingress/rivals.mts'
import type { Host } from './lib/input/inventory.mts'
import type { Settings } from './lib/input/settings.mts'
import { isOpen } from './lib/reach/http.mts'
import type { Run } from './lib/run/run.mts'
import { operate, script } from './lib/run/script.mts'
import type { ClusterStep, NodeStep } from './lib/run/step.mts'

const namespace = 'nginx-ingress'

export const installIngress = script({
  id: '09_k3s_05',
  title: 'Install the ingress on every node',
  file: import.meta.filename,
  story: async (run) => {
    const { settings, hosts, kubectl, mode } = run
    const check = checkOf(settings)
    const { config, daemonset } = manifestValues(settings)
    const configuration = await readManifest('05_ingress/config.yaml', config)
    const file = settings.ingress.certificate
    const pair = file === '' || mode === 'runbook' ? undefined : await readPair(file)

    await run.on(hosts, () => [hasPortsFree])
    await run.once([
      hasNoRival(kubectl),
      manifestStep(kubectl, 'has the namespace', await readManifest('05_ingress/namespace.yaml')),
      manifestStep(kubectl, 'has what the controller may do', await readManifest('05_ingress/rbac.yaml')),
      certificateStep(kubectl, { namespace, secret: 'default-server-tls', file }, pair),
      manifestStep(kubectl, 'has the class nginx and the configuration', configuration),
      manifestStep(kubectl, 'has the DaemonSet', await readManifest('05_ingress/daemonset.yaml', daemonset)),
      runsEverywhere(run)
    ])
    await run.on(hosts, (host) => [answersTheCheck(host, check, run), keepsItsOtherPorts(host, run)])
    await run.once([
      answersThroughBalancers(check, settings),
      hasRefusedNothing(kubectl, check),
      await carriesACanary(run)
    ])
  }
})

const runsEverywhere = ({ kubectl, hosts, settings, sick }: Run): ClusterStep => {
  const { grace, minReady } = updateTimes(settings)
  return rolledOut(kubectl, {
    kind: 'daemonset',
    namespace,
    name: 'nginx-ingress',
    nodes: hosts.length,
    step: 'runs on every node, and nothing older',
    within: 120 + hosts.length * (grace + minReady),
    evidence: async () => {
      const pods = await getPods(kubectl, { namespace, label: 'app=nginx-ingress' })
      const pod = pods.find((one) => isReady(one) && !sick().includes(one.spec.nodeName ?? ''))
      if (!pod) return 'none could be asked for its version'
      const version = await kubectl({ timeout: 15 })`-n ${namespace} exec ${pod.metadata.name} -- /nginx-ingress -version`
      return version.split('\n')[0] ?? ''
    }
  })
}

const answersTheCheck = (host: Host, check: Check, { settings, chosen }: Run): NodeStep => ({
  name: "answers the load balancers' health check",
  check: async () => {
    const answer = await makeCheck(host.address, check)
    if (passes(answer)) return `= 200 in ${milliseconds(answer.milliseconds)} ms`
    const { path, proxyProtocol } = check
    if (passes(await makeCheck(host.address, { ...check, proxyProtocol: !proxyProtocol }))) {
      return `answers only ${proxyProtocol ? 'without' : 'with'} PROXY protocol; ingress.client_address is ${settings.ingress.client_address}`
    }
    return `${path} on ${host.address}: ${inWords(answer)}`
  },
  look: checksByHand(chosen.map(({ address }) => address), check),
  within: 60,
  hint: './09_k3s_test_healthcheck.mts says what the answer means'
})

const keepsItsOtherPorts = ({ address }: Host, { chosen }: Run): NodeStep => ({
  name: `keeps ${privatePorts.join(' and ')} to the cluster`,
  check: async () => {
    const open = await Promise.all(
      privatePorts.map(async (port) => ((await isOpen(address, port)) ? `${port} is open` : ''))
    )
    return open.filter(Boolean).join('\n')
  },
  look: `for address in ${chosen.map((host) => host.address).join(' ')}; do
  for port in ${privatePorts.join(' ')}; do
    timeout 1 bash -c ": < /dev/tcp/$address/$port" 2>/dev/null && echo "$port is open on $address"
  done
done`,
  hint: '09_k3s_01 sets the firewall'
})

const answersThroughBalancers = (check: Check, settings: Settings): ClusterStep => {
  const { load_balancers: { http }, ingress: { client_address } } = settings
  const { path, proxyProtocol } = check
  const asClient = { ...check, proxyProtocol: false } // a load balancer speaks plain HTTP to its clients
  return {
    name: 'answers through both load balancers',
    check: async () => {
      const lines = await Promise.all(http.map(async (address) => {
        const answer = await makeCheck(address, asClient)
        if (passes(answer)) return `= ${address} in ${milliseconds(answer.milliseconds)} ms`
        return `${address}${path}: ${inWords(answer)}`
      }))
      return lines.length > 0 ? lines.join('\n') : '= the settings have none'
    },
    look: http.length > 0 ? checksByHand(http, asClient) : '# The settings have none.',
    within: 120,
    hint: 'the nodes themselves answer. At the load balancer: are they its targets on port 80, is PROXY protocol '
      + `${proxyProtocol ? 'on' : 'off'} (ingress.client_address is ${client_address}), is the health check GET ${path} on 80?`
  }
}

const carriesACanary = async ({ kubectl, signal, hosts, chosen, settings, stands }: Run): Promise<ClusterStep> => {
  const name = 'canary'
  return {
    name: 'carries a canary through every node and both load balancers',
    trial: true,
    timeout: 180,
    check: () => canaryFaults({ kubectl, signal, name }, { nodes: chosen.filter(stands), all: hosts }, settings),
    look: await canaryByHand(name, chosen, settings)
  }
}

if (import.meta.main) await operate([installIngress], import.meta.filename)
