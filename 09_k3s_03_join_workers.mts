#!/usr/bin/env node
// 09_k3s_03  Join the workers
//
// Makes the workers of servers.tsv agents of the cluster, all at once; gives every node, servers too, the labels and
// taints of its pool; and proves the pod network between every two nodes: pod to pod and through a service address,
// with more than one packet holds.
//
// Needs:   09_k3s_02.
// Changes: /usr/local/bin/k3s, /etc/rancher/k3s, /var/lib/rancher/k3s, the unit k3s-agent on the workers; labels and
//          taints keybuzz.io/pool on all nodes; the namespace keybuzz-netcheck.
// Undo:    `kubectl drain NODE`, on it `systemctl disable --now k3s-agent`, then `kubectl delete node NODE`.
// Example: ./09_k3s_03_join_workers.mts --hosts k3s-worker-05

import { artifacts } from './lib/reach/release.mts'
import type { Host } from './lib/input/inventory.mts'
import { configSteps, nodeConfig, releaseSteps, removeOldNetwork, restartedStep, startedStep, tokenStep } from './lib/node/k3s.mts'
import { createKubectl, getNodes, is, manifestStep, type Kubectl, type Node } from './lib/reach/kubectl.mts'
import { readManifest } from './lib/cluster/objects.mts'
import { readNics } from './lib/node/nic.mts'
import { podMatrix } from './lib/cluster/pod-network.mts'
import { remembered, type Remembered } from './lib/base/wait.mts'
import { operate, type Script } from './lib/run/script.mts'
import { newSecret } from './lib/input/secrets.mts'
import { apiUrl, contextOf, type Settings } from './lib/input/settings.mts'
import { capture, run as ssh } from './lib/reach/ssh.mts'
import type { Step } from './lib/run/step.mts'
import { runningTokens } from './lib/node/tokens.mts'

export const joinWorkers: Script = {
  id: '09_k3s_03',
  title: 'Join the workers',
  flags: { artifacts: '--artifacts DIR    a folder that holds the files of the K3s release already' },
  story: async (run) => {
    const { settings, hosts, servers, agents } = run
    const release = await artifacts(settings, { dir: run.flags['artifacts'], signal: run.signal, say: run.note })
    const kubectl = createKubectl(release.k3s.file, contextOf(settings))
    const nodes = remembered(() => getNodes(kubectl))
    const manifest = await readManifest('03_netcheck/netcheck.yaml')

    const nics = await readNics(run, run.chosen)
    const tokens = await runningTokens(servers)
    const noServer = tokens ? '' : 'no server that answers has the tokens of a cluster: run 09_k3s_02 first'
    await run.once([{ name: 'has a server to join', check: async () => noServer }])
    if (!run.stands('cluster')) return
    await run.on(agents, (host) => [
      ...releaseSteps(host, settings, release),
      tokenStep('/etc/rancher/k3s/token', tokens?.agent ?? newSecret()),
      ...configSteps(host, settings, {
        server: apiUrl(settings),
        ...nodeConfig(host, settings, nics.get(host.name) ?? '')
      }),
      hasNoPast(host, kubectl, nodes),
      startedStep(host),
      restartedStep(host)
    ])
    await run.on(hosts, (host) => [
      isReady(host, nodes),
      ...isInPool(host, settings, kubectl, nodes),
      ...tunnelsPrivately(host, nics.get(host.name) ?? '', nodes)
    ])
    await run.once([manifestStep(kubectl, 'has the netcheck pods', manifest)])
    const matrix = remembered(() => podMatrix(kubectl, run.chosen.filter(run.stands)))
    await run.on(hosts, (host) => [{
      name: 'has a pod network to every node',
      check: async () => (await matrix.get()).get(host.name) ?? '',
      within: 60,
      hint: 'is 8472/udp open between the private addresses, in the firewall of the hosting network too?'
    }])
  }
}

type Nodes = Remembered<Map<string, Node>>

// K3s refuses a node that has lost its password file but is still registered (k3s#6054).
const hasNoPast = (host: Host, kubectl: Kubectl, nodes: Nodes): Step => ({
  name: 'is not registered from an earlier life',
  check: async () => {
    if (!(await nodes.get()).has(host.name)) return ''
    const { exitCode } = await ssh(host, 'test -f /etc/rancher/node/password')
    return exitCode === 0 ? '' : 'its node password is gone: its Node is deleted, to register anew'
  },
  change: async () => {
    await kubectl(['delete', 'node', host.name, '--timeout=60s'])
    nodes.forget()
    await capture(host, removeOldNetwork)
  }
})

const isReady = (host: Host, nodes: Nodes): Step => ({
  name: 'is Ready',
  check: async () => {
    const node = (await nodes.get()).get(host.name)
    if (!node) return 'has not registered'
    return is(node, 'Ready') ? '' : (node.status.conditions?.find(({ type }) => type === 'Ready')?.message ?? 'is not')
  },
  within: 180,
  hint: `ssh ${host.user}@${host.address} journalctl -e -u 'k3s*'`
})

const pool = 'keybuzz.io/pool'

const taintsOf = (host: Host, settings: Settings): string[] => {
  if (host.role === 'server') return settings.k3s.server_taint ? ['CriticalAddonsOnly=true:NoExecute'] : []
  if (host.pool === 'heavy') return [`${pool}=heavy:NoSchedule`]
  if (host.pool === 'observability') return [`${pool}=observability:PreferNoSchedule`]
  return []
}

// Taints that others set (node.kubernetes.io/unreachable, a cordon) are theirs.
const isOurs = (taint: string): boolean => /^(keybuzz\.io\/pool|CriticalAddonsOnly)[=:]/.test(taint)

const isInPool = (host: Host, settings: Settings, kubectl: Kubectl, nodes: Nodes): Step[] => {
  const wanted = taintsOf(host, settings)
  const found = async (): Promise<string[]> => {
    const taints = (await nodes.get()).get(host.name)?.spec.taints ?? []
    return taints.map(({ key, value, effect }) => `${key}${value ? `=${value}` : ''}:${effect}`).filter(isOurs)
  }
  return [
    {
      name: `is in the pool ${host.pool}`,
      check: async () => {
        const label = (await nodes.get()).get(host.name)?.metadata.labels?.[pool]
        return label === host.pool ? '' : `is in ${label ?? 'none'}`
      },
      change: async () => {
        await kubectl(['label', 'node', host.name, '--overwrite', `${pool}=${host.pool}`])
        nodes.forget()
      }
    },
    {
      name: wanted.length > 0 ? `keeps off others (${wanted.join(', ')})` : 'is open to all pods',
      check: async () => {
        const has = await found()
        const lacks = wanted.filter((taint) => !has.includes(taint)).map((taint) => `lacks the taint ${taint}`)
        return [...lacks, ...has.filter((taint) => !wanted.includes(taint)).map((taint) => `has the taint ${taint}`)].join('\n')
      },
      change: async () => {
        // kubectl refuses to remove and to set the same key and effect in one command; --overwrite replaces the value.
        const slot = (taint: string): string => taint.replace(/=[^:]*/, '')
        const surplus = (await found()).filter((taint) => !wanted.some((one) => slot(one) === slot(taint)))
        await kubectl(['taint', 'node', host.name, '--overwrite', ...surplus.map((taint) => `${taint}-`), ...wanted])
        nodes.forget()
      }
    }
  ]
}

// flannel takes the public NIC where it is let; then the hosting network's firewall drops every packet between pods.
const tunnelsPrivately = (host: Host, nic: string, nodes: Nodes): Step[] => [
  {
    name: `has its tunnel on ${host.address}`,
    check: async () => {
      const address = (await nodes.get()).get(host.name)?.metadata.annotations?.['flannel.alpha.coreos.com/public-ip']
      return address === host.address ? '' : `flannel's public-ip is ${address ?? 'not set'}`
    },
    within: 30
  },
  {
    name: 'has a tunnel whose packets fit',
    check: `nic=$(cat /sys/class/net/${nic}/mtu); tunnel=$(cat /sys/class/net/flannel.1/mtu 2>/dev/null || echo none)
[[ $tunnel == $((nic - 50)) ]] || echo "flannel.1 has MTU $tunnel, ${nic} has $nic; expected 50 less"`,
    within: 30
  }
]

if (import.meta.main) await operate([joinWorkers], import.meta.filename)
