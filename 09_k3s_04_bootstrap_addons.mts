#!/usr/bin/env node
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

import { contextOf } from './lib/input/settings.mts'
import { artifacts } from './lib/reach/release.mts'
import { snapshotStep } from './lib/node/etcd.mts'
import type { Run } from './lib/run/run.mts'
import { archiveStep, imageArchives } from './lib/node/images.mts'
import { createKubectl, manifestStep, type Kubectl } from './lib/reach/kubectl.mts'
import { readManifest } from './lib/cluster/objects.mts'
import { netcheck, resolveEverywhere } from './lib/cluster/pod-network.mts'
import { remembered, until } from './lib/base/wait.mts'
import { operate, type Script } from './lib/run/script.mts'
import type { Step } from './lib/run/step.mts'
import { tenantManifest } from './lib/cluster/tenant.mts'
import { withObjects } from './lib/cluster/trial.mts'

export const bootstrapAddons: Script = {
  id: '09_k3s_04',
  title: 'Bootstrap the addons',
  flags: { artifacts: '--artifacts DIR    a folder that holds the files of the K3s release already' },
  story: async (run) => {
    const { settings: { addons, network }, settings, hosts, servers, agents } = run
    const release = await artifacts(settings, { dir: run.flags['artifacts'], signal: run.signal, say: run.note })
    const kubectl = createKubectl(release.k3s.file, contextOf(settings))
    const archives = await imageArchives(release.folder)
    // Neither tolerates the taint of the heavy pool, and each node takes one of each.
    const able = hosts.filter(({ pool }) => pool !== 'heavy').length
    const dnsReplicas = addons.dns_replicas === 'every-node' ? able : addons.dns_replicas
    const metricsReplicas = Math.min(addons.metrics_replicas, able)
    const nameservers = network.nameservers.join(' ')
    const dns = await readManifest('04_addons/dns.yaml', { NAMESERVERS: nameservers, REPLICAS: dnsReplicas })
    const metrics = await readManifest('04_addons/metrics.yaml', { REPLICAS: metricsReplicas })

    await run.on(hosts, (host) => archives.map((archive) => archiveStep(host, archive)))
    await run.on(agents, () => [hasRoomForVolumes(run)])
    await run.once([
      manifestStep(kubectl, 'has the priority classes', await readManifest('04_addons/priorities.yaml')),
      takesTenants(kubectl),
      manifestStep(kubectl, `has CoreDNS with ${dnsReplicas} replicas and the nameservers`, dns),
      runs(kubectl, { name: 'coredns', label: 'k8s-app=kube-dns', replicas: dnsReplicas }),
      manifestStep(kubectl, `has metrics-server with ${metricsReplicas} replicas`, metrics),
      runs(kubectl, { name: 'metrics-server', label: 'k8s-app=metrics-server', replicas: metricsReplicas }),
      runs(kubectl, { name: 'local-path-provisioner', label: 'app=local-path-provisioner', replicas: 1 }),
      keepsVolumes(kubectl, run)
    ])
    const names = [`kubernetes.default.svc.${network.cluster_domain}`, addons.outside_name]
    const answers = remembered(() => resolveEverywhere(kubectl, run.chosen.filter(run.stands), names))
    await run.on(hosts, (host) => [{
      name: 'has pods that resolve names',
      check: async () => (await answers.get()).get(host.name) ?? 'was not asked',
      within: 120, // CoreDNS takes a changed ConfigMap over within a minute or two
      timeout: 60,
      hint: 'kubectl -n kube-system logs -l k8s-app=kube-dns; are the nameservers reached from the nodes?'
    }])
    // Where pods of others find no node, this one's do not either.
    const takesPods = agents.length > 0 || !settings.k3s.server_taint
    await run.once([hasMetrics(kubectl, run), ...(takesPods ? [carriesDataOver(kubectl, run)] : [])])
    await run.on(servers, () => [snapshotStep(settings)])
  }
}

// A data volume that is not mounted is not missed by anybody until the system's disk is full.
const hasRoomForVolumes = ({ settings: { addons: { volumes } } }: Run): Step => ({
  name: `has a disk for volumes under ${volumes.path}`,
  check: `dir=${volumes.path}; until [[ -d $dir ]]; do dir=$(dirname "$dir"); done
disk=$(findmnt -n -o TARGET -T "$dir")
echo "= $(df -BG --output=avail "$dir" | tail -n 1 | tr -d ' G') GiB free on $disk"
if [[ ${volumes.mounted} == true && $disk == / ]]; then
  echo "${volumes.path} is on the system's disk: the data volume is not mounted"
fi`,
  hint: 'mount it, in /etc/fstab too; or set addons.volumes in the settings'
})

// Refused templates would be found out with the first tenant.
const takesTenants = (kubectl: Kubectl): Step => ({
  name: "would take a tenant's namespace, quota and network policies",
  check: async () => {
    const manifest = await tenantManifest(kubectl, 'default')
    await kubectl(['apply', '--server-side', '--force-conflicts', '--dry-run=server', '-f', '-'], manifest)
    return ''
  }
})

type Pod = {
  spec: { nodeName?: string }
  status: {
    conditions?: { type: string; status: string; message?: string }[]
    containerStatuses?: { state: { waiting?: { reason: string; message?: string } } }[]
  }
}

type Wanted = { name: string; label: string; replicas: number }

const runs = (kubectl: Kubectl, { name, label, replicas }: Wanted): Step => ({
  name: replicas > 1 ? `runs ${name} on ${replicas} nodes` : `runs ${name}`,
  check: async () => {
    const pods = await kubectl(['-n', 'kube-system', 'get', 'pods', '-l', label, '-o', 'json'])
    const { items } = JSON.parse(pods) as { items: Pod[] }
    const ready = items.filter(({ status }) =>
      status.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True'))
    const nodes = new Set(ready.map(({ spec }) => spec.nodeName))
    const found = nodes.size > 0 ? `= on ${[...nodes].toSorted().join(', ')}\n` : ''
    if (nodes.size >= replicas) return found
    const why = items.flatMap(whyNot).join('\n')
    return `${found}${ready.length} of ${replicas} are ready, on ${nodes.size} nodes\n${why}`
  },
  within: 180,
  hint: `kubectl -n kube-system describe pods -l ${label}`
})

const whyNot = ({ status }: Pod): string[] => [
  ...(status.conditions ?? [])
    .filter(({ type, status: is }) => type === 'PodScheduled' && is === 'False')
    .map(({ message = '' }) => message),
  ...(status.containerStatuses ?? [])
    .flatMap(({ state: { waiting } }) => (waiting ? [`${waiting.reason} ${waiting.message ?? ''}`] : []))
]

type StorageClass = { metadata: { name: string; annotations?: Record<string, string> } }

const keepsVolumes = (kubectl: Kubectl, { settings: { addons: { volumes } } }: Run): Step => ({
  name: `keeps volumes under ${volumes.path} by default`,
  check: async () => {
    const { items } = JSON.parse(await kubectl(['get', 'storageclass', '-o', 'json'])) as { items: StorageClass[] }
    const defaults = items
      .filter(({ metadata }) => metadata.annotations?.['storageclass.kubernetes.io/is-default-class'] === 'true')
      .map(({ metadata }) => metadata.name)
    const path = 'jsonpath={.data.config\\.json}'
    const config = await kubectl(['-n', 'kube-system', 'get', 'configmap', 'local-path-config', '-o', path])
    const { nodePathMap } = JSON.parse(config) as { nodePathMap: { node: string; paths: string[] }[] }
    const paths = nodePathMap.flatMap((entry) => entry.paths)
    return [
      ...(defaults.join() === 'local-path'
        ? []
        : [`default StorageClasses: ${defaults.join(', ') || 'none'}; expected local-path alone`]),
      ...(paths.join() === volumes.path ? [] : [`its folder is ${paths.join(', ')}`])
    ].join('\n')
  },
  within: 60,
  hint: '09_k3s_02 tells K3s the folder'
})

type Metrics = { items: { metadata: { name: string } }[] }

const hasMetrics = (kubectl: Kubectl, { chosen }: Run): Step => ({
  name: 'has metrics of every node, and of a pod on each',
  check: async () => {
    const read = async (path: string): Promise<string[]> => {
      const { items } = JSON.parse(await kubectl(['get', '--raw', `/apis/metrics.k8s.io/v1beta1/${path}`])) as Metrics
      return items.map(({ metadata }) => metadata.name)
    }
    const [nodes, pods] = await Promise.all([read('nodes'), read(`namespaces/${netcheck.namespace}/pods`)])
    const lacking = chosen.filter(({ name }) => !nodes.includes(name)).map(({ name }) => `none of ${name}`)
    return `= ${nodes.length} nodes, ${pods.length} netcheck pods
${[...lacking, ...(pods.length < chosen.length ? [`of ${pods.length} netcheck pods only`] : [])].join('\n')}`
  },
  within: 120, // the first ones come after two of metrics-server's rounds
  hint: 'kubectl -n kube-system logs -l k8s-app=metrics-server; is 10250/tcp open between the nodes?'
})

const carriesDataOver = (kubectl: Kubectl, { signal }: Run): Step => ({
  name: 'has volumes that outlive their pods',
  trial: true,
  check: async () => {
    const namespace = 'keybuzz-volume-trial'
    const manifest = await readManifest('04_addons/volume-trial.yaml', { NAMESPACE: namespace })
    const inNamespace = (...args: string[]): Promise<string> => kubectl(['-n', namespace, ...args])
    const isReady = async (): Promise<string> => {
      const ready = await inNamespace('get', 'deployment', 'trial', '-o', 'jsonpath={.status.readyReplicas}')
      if (ready === '1') return ''
      const messages = 'jsonpath={range .items[*]}{.message}{"\\n"}{end}'
      return lastEvent(await inNamespace('get', 'events', '--sort-by=.lastTimestamp', '-o', messages))
    }
    return withObjects({ kubectl, manifest, signal }, async () => {
      const first = await until(isReady, { seconds: 90, signal })
      if (first !== '') return `no pod with a volume came up: ${first}`
      const written = new Date().toISOString()
      await inNamespace('exec', 'deploy/trial', '--', 'sh', '-c', `echo ${written} > /data/written`)
      const pod = await inNamespace('get', 'pods', '-o', 'jsonpath={.items[0].metadata.name}')
      await inNamespace('delete', 'pod', pod, '--timeout=30s')
      const next = await until(isReady, { seconds: 60, signal })
      if (next !== '') return `no second pod came up with the volume: ${next}`
      const read = (await inNamespace('exec', 'deploy/trial', '--', 'cat', '/data/written')).trim()
      return read === written ? '' : `the second pod read ${read || 'nothing'}; the first had written ${written}`
    })
  },
  hint: 'kubectl -n kube-system logs -l app=local-path-provisioner'
})

const lastEvent = (messages: string): string => messages.trim().split('\n').at(-1) || 'nothing is known'

if (import.meta.main) await operate([bootstrapAddons], import.meta.filename)
