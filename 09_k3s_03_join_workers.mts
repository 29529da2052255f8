#!/usr/bin/env -S sh -c 'exec "$(dirname "$(readlink -f "$0")")/lib/run/start.sh" "$0" "$@"'
// 09_k3s_03  Join the workers
//
// Makes the workers of servers.tsv agents of the cluster: new ones all at once; a change on running ones first on one, then
// on three at a time, each until its kubelet is well. Gives every node, servers too, the labels and taints of its pool; and
// proves the pod network between every two nodes: pod to pod and through a service address, with more than one packet holds.
//
// Needs:   09_k3s_02.
// Changes: /usr/local/bin/k3s, /etc/rancher/k3s, /var/lib/rancher/k3s, the unit k3s-agent on the workers; labels and
//          taints keybuzz.io/pool on all nodes; the namespace keybuzz-netcheck.
// Undo:    `kubectl drain NODE`, on it `systemctl disable --now k3s-agent`, then `kubectl delete node NODE`.
// Example: ./09_k3s_03_join_workers.mts --hosts k3s-worker-05

import { remembered } from './lib/base/wait.mts'
import type { Host } from './lib/input/inventory.mts'
import type { Settings } from './lib/input/settings.mts'
import { getNodes, hasNoStaleNode, isReadyNode, knowsEveryNode, type Nodes } from './lib/cluster/nodes.mts'
import { manifestStep, readManifest } from './lib/cluster/objects.mts'
import { netcheck, podMatrix } from './lib/cluster/pod-network.mts'
import { canBeTakenOver } from './lib/node/adopt.mts'
import {
  agentConfig, askWhetherRuns, givesPodsNameservers, hasConfig, hasRelease, hasSoundKubelet, hasToken, hasUnit, isStarted,
  runsWhatIsConfigured
} from './lib/node/k3s.mts'
import { readNics } from './lib/node/nic.mts'
import { namedTokens, runningTokens } from './lib/node/tokens.mts'
import type { Run } from './lib/run/run.mts'
import { operate, script } from './lib/run/script.mts'
import type { NodeStep } from './lib/run/step.mts'

export const joinWorkers = script({
  id: '09_k3s_03',
  title: 'Join the workers',
  file: import.meta.filename,
  story: async (run) => {
    const { settings, hosts, servers, agents, kubectl, ssh } = run
    const release = await run.release()
    const nodes = remembered(() => getNodes(kubectl))
    const nics = await readNics(run, run.chosen)
    const nic = ({ name }: Host): string => nics.get(name) ?? ''

    const tokens = run.mode === 'runbook' ? namedTokens(run) : await runningTokens(ssh, servers)
    await run.once([knowsEveryNode(run), {
      name: 'has a server to join',
      check: async () => (tokens ? '' : 'no server that answers has the tokens of a cluster: run 09_k3s_02 first'),
      look: 'kubectl get --raw /readyz     # ok'
    }])
    if (!tokens || !run.stands('cluster')) return run.skipRest()

    await run.on(agents, (host) => [canBeTakenOver(host, run), ...hasRelease(host, run, release)])
    const joins = (host: Host): NodeStep[] => [
      hasToken('token', tokens.agent),
      givesPodsNameservers(settings),
      hasConfig(agentConfig(host, settings, nic(host))),
      hasUnit(host),
      hasNoStaleNode(host, run, nodes),
      isStarted(host),
      runsWhatIsConfigured(host, ssh, release.k3s),
      hasSoundKubelet(host, servers)
    ]
    const runs = await run.ask(agents.filter((host) => run.chosen.includes(host)), askWhetherRuns)
    await run.on(agents.filter(({ name }) => !runs.get(name)), joins)
    // Those that carry pods: the first shows whether a kubelet takes the change, before the others get it.
    await run.on(agents.filter(({ name }) => runs.get(name)), joins, { atOnce: 3, firstAlone: true })

    await run.on(hosts, (host) => [
      isReadyNode(host, nodes),
      isInPool(host, run, nodes),
      hasItsTaints(host, run, nodes),
      tunnelsPrivately(host, nodes),
      tunnelFits(nic(host))
    ])
    await run.once([manifestStep(kubectl, 'has the netcheck pods', await readManifest('03_netcheck/netcheck.yaml', { BUSYBOX: release.busybox }))])
    const matrix = remembered(() => podMatrix(kubectl, run.chosen.filter(run.stands), run.sick()))
    await run.on(hosts, (host) => [{
      name: 'has a pod network to every node',
      check: async () => (await matrix.get()).get(host.name) ?? '',
      look: `pod=$(kubectl -n ${netcheck.namespace} get pods --field-selector spec.nodeName=${host.name} -o name)
for address in $(kubectl -n ${netcheck.namespace} get pods -o 'jsonpath={.items[*].status.podIP}'); do
  kubectl -n ${netcheck.namespace} exec $pod -- wget -q -T 3 -O - http://$address:8080/name || echo "no answer from $address"
done`,
      within: 60,
      timeout: 180
    }])
  }
})

const pool = 'keybuzz.io/pool'

const isInPool = (host: Host, { kubectl }: Run, nodes: Nodes): NodeStep => ({
  name: `is in the pool ${host.pool}`,
  check: async () => {
    const label = (await nodes.get()).get(host.name)?.metadata.labels?.[pool]
    return label === host.pool ? '' : `is in ${label ?? 'none'}`
  },
  look: `kubectl get node ${host.name} -L ${pool}`,
  change: async () => {
    await kubectl`label node ${host.name} --overwrite ${`${pool}=${host.pool}`}`
    nodes.forget()
  },
  byHand: `kubectl label node ${host.name} --overwrite ${pool}=${host.pool}`
})

const taintsOf = (host: Host, settings: Settings): string[] => {
  if (host.role === 'server') return settings.k3s.server_taint ? ['CriticalAddonsOnly=true:NoExecute'] : []
  if (host.pool === 'heavy') return [`${pool}=heavy:NoSchedule`]
  if (host.pool === 'observability') return [`${pool}=observability:PreferNoSchedule`]
  return []
}

// Taints that others set (node.kubernetes.io/unreachable, a cordon) are theirs.
const isOurs = (taint: string): boolean => /^(keybuzz\.io\/pool|CriticalAddonsOnly)[=:]/.test(taint)

const hasItsTaints = (host: Host, { settings, kubectl }: Run, nodes: Nodes): NodeStep => {
  const wanted = taintsOf(host, settings)
  const found = async (): Promise<string[]> => {
    const taints = (await nodes.get()).get(host.name)?.spec.taints ?? []
    return taints.map(({ key, value, effect }) => `${key}${value ? `=${value}` : ''}:${effect}`).filter(isOurs)
  }
  return {
    name: wanted.length > 0 ? `keeps off others (${wanted.join(', ')})` : 'is open to all pods',
    check: async () => {
      const has = await found()
      const lacks = wanted.filter((taint) => !has.includes(taint)).map((taint) => `lacks the taint ${taint}`)
      return [...lacks, ...has.filter((taint) => !wanted.includes(taint)).map((taint) => `has the taint ${taint}`)].join('\n')
    },
    look: `kubectl get node ${host.name} -o 'jsonpath={.spec.taints}'`,
    change: async () => {
      // kubectl refuses to remove and to set the same key and effect in one command; --overwrite replaces the value.
      const slot = (taint: string): string => taint.replace(/=[^:]*/, '')
      const surplus = (await found()).filter((taint) => !wanted.some((one) => slot(one) === slot(taint)))
      await kubectl`taint node ${host.name} --overwrite ${[...surplus.map((taint) => `${taint}-`), ...wanted]}`
      nodes.forget()
    },
    byHand: wanted.length > 0
      ? `kubectl taint node ${host.name} --overwrite ${wanted.join(' ')}`
      : `kubectl taint node ${host.name} ${pool}-     # and each other one of ours that is there`
  }
}

// flannel takes the public NIC where it is let; then the hosting network's firewall drops every packet between pods.
const tunnelsPrivately = (host: Host, nodes: Nodes): NodeStep => ({
  name: `has its tunnel on ${host.address}`,
  check: async () => {
    const address = (await nodes.get()).get(host.name)?.metadata.annotations?.['flannel.alpha.coreos.com/public-ip']
    return address === host.address ? '' : `flannel's public-ip is ${address ?? 'not set'}`
  },
  look: `kubectl get node ${host.name} -o 'jsonpath={.metadata.annotations.flannel\\.alpha\\.coreos\\.com/public-ip}'`,
  within: 30
})

const tunnelFits = (nic: string): NodeStep => ({
  name: 'has a tunnel whose packets fit',
  check: `nic=$(cat /sys/class/net/${nic}/mtu); tunnel=$(cat /sys/class/net/flannel.1/mtu 2>/dev/null || echo none)
[[ $tunnel == $((nic - 50)) ]] || echo "flannel.1 has MTU $tunnel, ${nic} has $nic; expected 50 less"`,
  within: 30
})

if (import.meta.main) await operate([joinWorkers], import.meta.filename)
