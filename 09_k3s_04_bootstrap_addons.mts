#!/usr/bin/env -S sh -c 'exec "$(dirname "$(readlink -f "$0")")/lib/run/start.sh" "$0" "$@"'
// 09_k3s_04  Bootstrap the addons
//
// Makes what K3s packages fit for the loss of a node: CoreDNS on every node, each asked by its own pods first, with the
// settings' nameservers; metrics-server in two; local-path as the default StorageClass. Stages further images on the
// nodes, and makes the priority classes. Then it proves them: every node's pods resolve names at every replica, metrics
// are there of all nodes and pods, and what a pod has written to a volume the next pod reads.
//
// Needs:   09_k3s_03.
// Changes: in kube-system the ConfigMap coredns-custom, the replicas and budgets of coredns and metrics-server, the
//          traffic distribution of kube-dns; priority classes keybuzz-*; on the nodes
//          /var/lib/rancher/k3s/agent/images. The proof makes the namespace keybuzz-volume-trial and removes it.
// Undo:    `kubectl -n kube-system delete pdb/coredns pdb/metrics-server configmap/coredns-custom`, scale both to 1.
// Example: ./09_k3s_04_bootstrap_addons.mts --plan

import { nodesOfApps } from './lib/apps/reachable.mts'
import { remembered } from './lib/base/wait.mts'
import { hasMetrics } from './lib/cluster/metrics.mts'
import { manifestStep, readManifest } from './lib/cluster/objects.mts'
import { netcheck, resolveEverywhere } from './lib/cluster/pod-network.mts'
import { rolledOut } from './lib/cluster/pods.mts'
import { keepsVolumes, volumesOutlivePods } from './lib/cluster/volumes.mts'
import { takesSnapshots } from './lib/node/etcd.mts'
import { hasArchive, imageArchives } from './lib/node/images.mts'
import { hasRoomForVolumes } from './lib/node/volumes.mts'
import type { Run } from './lib/run/run.mts'
import { operate, script } from './lib/run/script.mts'
import type { ClusterStep } from './lib/run/step.mts'

export const bootstrapAddons = script({
  id: '09_k3s_04',
  title: 'Bootstrap the addons',
  file: import.meta.filename,
  story: async (run) => {
    const { settings: { addons, network }, settings, hosts, servers, agents, kubectl, ssh } = run
    const release = await run.release()
    const archives = await imageArchives(release.folder, run.note)
    // Neither tolerates the taint of the heavy pool, and each node takes one of each.
    const able = hosts.filter(({ pool }) => pool !== 'heavy').length
    const dnsReplicas = addons.dns_replicas === 'every-node' ? able : addons.dns_replicas
    const metricsReplicas = Math.min(addons.metrics_replicas, able)
    const nameservers = network.nameservers.join(' ')
    const dns = await readManifest('04_addons/dns.yaml', { NAMESERVERS: nameservers, REPLICAS: dnsReplicas })
    const metrics = await readManifest('04_addons/metrics.yaml', { REPLICAS: metricsReplicas })

    const takesAll = nodesOfApps(run)
    await run.on(hosts, (host) =>
      archives.filter(({ onlyWorkers }) => !onlyWorkers || takesAll.includes(host)).map((archive) => hasArchive(host, ssh, archive)))
    await run.on(agents, () => [hasRoomForVolumes(run.settings)])
    await run.once([
      manifestStep(kubectl, 'has the priority classes', await readManifest('04_addons/priorities.yaml')),
      manifestStep(kubectl, `has CoreDNS with ${dnsReplicas} replicas and the nameservers`, dns),
      runsOnNodes(run, 'coredns', dnsReplicas),
      manifestStep(kubectl, `has metrics-server with ${metricsReplicas} replicas`, metrics),
      runsOnNodes(run, 'metrics-server', metricsReplicas),
      runsOnNodes(run, 'local-path-provisioner', 1),
      keepsVolumes(run)
    ])
    const names = [`kubernetes.default.svc.${network.cluster_domain}`, addons.outside_name]
    const answers = remembered(() => resolveEverywhere(kubectl, run.chosen.filter(run.stands), names, run.sick()))
    await run.on(hosts, ({ name: node }) => [{
      name: 'has pods that resolve names',
      check: async () => (await answers.get()).get(node) ?? 'was not asked',
      look: `pod=$(kubectl -n ${netcheck.namespace} get pods --field-selector spec.nodeName=${node} -o name)
for name in ${names.join(' ')}; do kubectl -n ${netcheck.namespace} exec $pod -- nslookup $name; done`,
      within: 120, // CoreDNS takes a changed ConfigMap over within a minute or two
      timeout: 180,
      hint: 'kubectl -n kube-system logs -l k8s-app=kube-dns; are the nameservers reached from the nodes?'
    }])
    // The trial's pod needs a node without a taint.
    const hasOpenNode = agents.length > 0 || !settings.k3s.server_taint
    await run.once([hasMetrics(run), ...(hasOpenNode ? [volumesOutlivePods(run, release.busybox)] : [])])
    await run.on(servers, () => [takesSnapshots(settings)])
  }
})

const runsOnNodes = ({ kubectl }: Run, name: string, nodes: number): ClusterStep => rolledOut(kubectl, {
  kind: 'deployment', namespace: 'kube-system', name, nodes, step: nodes > 1 ? `runs ${name} on ${nodes} nodes` : `runs ${name}`
})

if (import.meta.main) await operate([bootstrapAddons], import.meta.filename)
