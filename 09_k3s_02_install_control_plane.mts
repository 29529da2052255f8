#!/usr/bin/env node
// 09_k3s_02  Install the control plane
//
// Makes the servers of servers.tsv one K3s control plane with embedded etcd behind the API load balancer. The first
// server starts a cluster only where no server holds one; every other joins it, one at a time, and must be an etcd
// voter and ready before the next. A server whose data is gone is rebuilt from the others. A changed configuration is
// rolled out one server at a time, after a snapshot, while all other voters are healthy.
//
// Needs:   09_k3s_01. The load balancer passes 6443/tcp on to the servers.
// Changes: /usr/local/bin/k3s, /etc/rancher/k3s, /var/lib/rancher/k3s, the unit k3s on the servers;
//          ~/.keybuzz/secrets and the context keybuzz-<environment> of ~/.kube/config on the bastion.
// Undo:    on each server `systemctl disable --now k3s`; its data stays in /var/lib/rancher/k3s.
// Example: ./09_k3s_02_install_control_plane.mts --plan

import { apiUrl, contextOf } from './lib/input/settings.mts'
import { apiFault, kubeconfigStep, missingNames } from './lib/cluster/kubeconfig.mts'
import { artifacts } from './lib/reach/release.mts'
import type { Run } from './lib/run/run.mts'
import type { Host } from './lib/input/inventory.mts'
import { configSteps, nodeConfig, releaseSteps, removeOldNetwork, restartedStep, startedStep, tokenStep } from './lib/node/k3s.mts'
import { createKubectl, getNodes, is, type Kubectl } from './lib/reach/kubectl.mts'
import { readManifest } from './lib/cluster/objects.mts'
import { readNics } from './lib/node/nic.mts'
import { operate, type Script } from './lib/run/script.mts'
import { capture } from './lib/reach/ssh.mts'
import { fileStep, type Step } from './lib/run/step.mts'
import { clusterTokens, type Tokens } from './lib/node/tokens.mts'

export const installControlPlane: Script = {
  id: '09_k3s_02',
  title: 'Install the control plane',
  role: 'server',
  flags: {
    artifacts: '--artifacts DIR    a folder that holds the files of the K3s release already',
    'token-file': '--token-file FILE  the token of a cluster that another bastion made (or K3S_TOKEN)'
  },
  story: async (run) => {
    const { settings, servers } = run
    const release = await artifacts(settings, { dir: run.flags['artifacts'], signal: run.signal, say: run.note })
    const kubectl = createKubectl(release.k3s.file, contextOf(settings))
    const audit = await readManifest('02_control_plane/audit-policy.yaml')

    const nics = await readNics(run, servers)
    const clusters = await run.read(servers, clusterOfServer)
    const holders = servers.filter(({ name }) => clusters.get(name))
    await run.once([isOneCluster(servers, clusters)])
    if (!run.stands('cluster')) return

    await run.on(servers, (host) => releaseSteps(host, settings, release))

    // Members first, all at once: after a power failure no one of them is ready before another one runs.
    const first = holders[0] ?? servers[0]!
    // Every other server that is a member, or may be one and does not answer.
    const others = (host: Host): Host[] =>
      servers.filter((other) => other !== host && (holders.includes(other) || !clusters.has(other.name)))
    const nic = ({ name }: Host): string => nics.get(name) ?? ''
    const tokens = await clusterTokens(run, { from: holders[0] })
    await run.on(holders, (host) => [
      keepsItsNetworks(run),
      ...isConfigured(host, run, { nic: nic(host), tokens, audit }),
      joins(`server: ${apiUrl(settings)}`),
      startedStep(host)
    ])
    await run.on(servers.filter((host) => !holders.includes(host)), async (host) => {
      const starts = host === first
      // Once the first server runs, its tokens have the hash of the CA that it has made.
      const secured = starts ? tokens : await clusterTokens(run, { from: first })
      return [
        ...isConfigured(host, run, { nic: nic(host), tokens: secured, audit }),
        joins(starts ? 'cluster-init: true' : `server: ${apiUrl(settings)}`),
        ...(starts ? [] : [hasNoPast(host, first, others(host)), reachesApi(run)]),
        startedStep(host),
        isVoter(host),
        // From here on a server that loses its data joins the others again instead of starting a second cluster.
        ...(starts ? [joins(`server: ${apiUrl(settings)}`)] : [])
      ]
    }, 'serial')
    await run.on(holders, (host) => [restartedStep(host, () => mayRestart(host, servers)), isVoter(host)], 'serial')

    if (!run.stands(first)) return
    await run.on(servers, (host) => [{
      name: 'is certified for every name of the API',
      check: () => missingNames(host, run),
      within: 30,
      hint: 'on the server: k3s certificate rotate --service api-server, then restart k3s'
    }])
    await run.once([
      kubeconfigStep(settings, () => capture(first, 'cat /etc/rancher/k3s/k3s.yaml')),
      { name: 'answers through the load balancer', check: () => apiFault(kubectl), within: 60 },
      { name: `has ${servers.length} voters, all healthy`, check: () => unhealthyVoters(servers, kubectl), within: 60 }
    ])
    await run.on([first], () => [hasSnapshot])
  }
}

// The SHA-256 of the CA of the cluster whose etcd data a server holds, or nothing.
const clusterOfServer = `cd /var/lib/rancher/k3s/server 2>/dev/null || exit 0
if [[ -d db/etcd/member/wal ]]; then sha256sum tls/server-ca.crt 2>/dev/null || echo unfinished; fi`

// A second cluster beside the first would be found only when data is missing. So nothing is started on a guess.
const isOneCluster = (servers: Host[], clusters: Map<string, string>): Step => ({
  name: 'is one cluster, or none yet',
  always: true,
  check: async () => {
    const silent = servers.filter(({ name }) => !clusters.has(name)).map(({ name }) => name)
    const found = new Set([...clusters.values()].filter((hash) => hash !== '' && hash !== 'unfinished'))
    const holding = [...clusters].filter(([, hash]) => hash !== '').map(([name, hash]) => `${name} ${hash.slice(0, 8)}`)
    if (found.size > 1) return `the servers hold different clusters: ${holding.join(', ')}`
    if (holding.length === 0 && silent.length > 0) return `${silent.join(', ')} may hold a cluster, and does not answer`
    return ''
  },
  hint: 'bring every server back first; one that is gone for good is replaced by a new one with its name and address'
})

type Known = { nic: string; tokens: Tokens; audit: string }

const isConfigured = (host: Host, { settings, servers }: Run, { nic, tokens, audit }: Known): Step[] => {
  const { k3s, network, load_balancers: { api }, snapshots, audit: log } = settings
  const logs = '/var/lib/rancher/k3s/server/logs'
  return [
    tokenStep('/etc/rancher/k3s/token', tokens.server),
    tokenStep('/etc/rancher/k3s/agent-token', tokens.agent, 'secret'),
    fileStep('/etc/rancher/k3s/audit-policy.yaml', audit, { mode: '0600', name: 'has the audit policy' }),
    {
      name: 'has a private folder for the audit log',
      check: `[[ $(stat -c %a ${logs} 2>/dev/null) == 700 ]] || echo 'is missing, or open to others'`,
      change: `install -d -m 0700 ${logs}`
    },
    ...configSteps(host, settings, {
      ...nodeConfig(host, settings, nic),
      'agent-token-file': '/etc/rancher/k3s/agent-token',
      'tls-san': [...new Set([api.address, ...api.names, ...servers.map(({ address }) => address)])],
      'cluster-cidr': network.cluster_cidr,
      'service-cidr': network.service_cidr,
      'cluster-dns': network.cluster_dns,
      'cluster-domain': network.cluster_domain,
      // They would take ports 80 and 443, which the ingress needs on every node.
      disable: ['traefik', 'servicelb'],
      'default-local-storage-path': settings.addons.volumes.path,
      'secrets-encryption': true,
      'write-kubeconfig-mode': '0600',
      'etcd-snapshot-schedule-cron': snapshots.schedule,
      'etcd-snapshot-retention': snapshots.retention,
      ...(k3s.server_taint ? { 'node-taint': ['CriticalAddonsOnly=true:NoExecute'] } : {}),
      ...(k3s.etcd_args.length > 0 ? { 'etcd-arg': k3s.etcd_args } : {}),
      'kube-apiserver-arg': [
        `audit-log-path=${logs}/audit.log`,
        'audit-policy-file=/etc/rancher/k3s/audit-policy.yaml',
        `audit-log-maxage=${log.max_age_days}`,
        `audit-log-maxbackup=${log.max_backups}`,
        `audit-log-maxsize=${log.max_size_mb}`,
        'service-account-extend-token-expiration=false'
      ],
      'kube-controller-manager-arg': ['terminated-pod-gc-threshold=100']
    })
  ]
}

// All addresses in a cluster come from these, so they are chosen once; K3s refuses servers that differ.
const keepsItsNetworks = ({ settings: { network } }: Run): Step => ({
  name: 'keeps the networks that the cluster was made with',
  always: true,
  check: `cd /etc/rancher/k3s; if [[ ! -f config.yaml ]]; then exit; fi
while read -r key wanted; do
  is=$(sed -n "s/^$key: //p" config.yaml)
  [[ -z $is || $is == "$wanted" ]] || echo "$key is $is in the cluster, the settings say $wanted"
done <<'END'
cluster-cidr ${network.cluster_cidr}
service-cidr ${network.service_cidr}
cluster-dns ${network.cluster_dns}
cluster-domain ${network.cluster_domain}
END`,
  hint: 'put the former values back under network in the settings; only a new cluster can have others'
})

// Read only while the server has no etcd data of its own; from then on K3s ignores it.
const joins = (how: string): Step => ({
  ...fileStep('/etc/rancher/k3s/config.yaml.d/00-join.yaml', `${how}\n`, { mode: '0600' }),
  name: how.startsWith('server') ? 'is told to join the others' : 'is told to start the cluster'
})

const hasNoPast = (host: Host, member: Host, others: Host[]): Step => ({
  name: 'is no member without data',
  check: async () => {
    const node = await capture(member, `k3s kubectl get node ${host.name} --ignore-not-found -o name`)
    return node.trim() === '' ? '' : 'its data is gone, and etcd still counts it: is removed before it joins anew'
  },
  // K3s removes the etcd member with the Node (k3s#10462). With another voter down that could cost the quorum.
  change: async () => {
    await areHealthy(others)
    await capture(member, `k3s kubectl delete node ${host.name} --timeout=60s`, { timeout: 90 })
    await capture(host, removeOldNetwork)
  }
})

const reachesApi = ({ settings }: Run): Step => ({
  name: 'reaches the API through the load balancer',
  check: `python3 - <<'END'
import ssl, urllib.request
try:
    answer = urllib.request.urlopen('${apiUrl(settings)}/ping', timeout=3, context=ssl._create_unverified_context())
    if answer.read() != b'pong':
        print('${apiUrl(settings)}/ping is answered by something else than K3s')
except OSError as error:
    print(f'${apiUrl(settings)}/ping: {error}')
END`,
  within: 60,
  hint: 'does the load balancer pass 6443/tcp on, and does its health check see the first server?'
})

const isVoter = (host: Host): Step => ({
  name: 'is ready, and a voter of etcd',
  check: `if ! why=$(k3s kubectl get --raw /readyz 2>&1); then
  failing=$(grep -oE '\\[-\\][^\\"]+' <<<"$why") || failing=$(tail -n 1 <<<"$why")
  echo "its API is not ready: \${failing//$'\\n'/, }"
  journalctl -u k3s -n 200 -o cat --no-pager | grep -E 'level=(fatal|error)' | tail -n 2 || true
  exit
fi
is=$(k3s kubectl get node ${host.name} -o jsonpath='{range .status.conditions[*]}{.type}={.status} {end}' 2>&1)
for condition in Ready EtcdIsVoter; do
  [[ " $is " == *" $condition=True "* ]] || echo "is not $condition yet"
done`,
  within: 300,
  timeout: 30,
  hint: `ssh ${host.user}@${host.address} journalctl -u k3s -e`
})

const etcdHealth = `exec 3<>/dev/tcp/127.0.0.1/2381
printf 'GET /health HTTP/1.0\\r\\n\\r\\n' >&3
grep -q '"health":"true"' <&3`

const areHealthy = async (servers: Host[]): Promise<void> => {
  const sick = await Promise.all(servers.map((host) => capture(host, etcdHealth).then(() => '', () => host.name)))
  const names = sick.filter(Boolean)
  if (names.length > 0) throw new Error(`the quorum would be at risk: etcd on ${names.join(', ')} is not healthy`)
}

const mayRestart = async (host: Host, servers: Host[]): Promise<void> => {
  await areHealthy(servers.filter((other) => other !== host))
  // K3s's own retention counts scheduled snapshots only.
  await capture(host, `k3s etcd-snapshot save --name before-restart
k3s etcd-snapshot prune --name before-restart --snapshot-retention 5`, { timeout: 120 })
}

const unhealthyVoters = async (servers: Host[], kubectl: Kubectl): Promise<string> => {
  await areHealthy(servers)
  const nodes = [...(await getNodes(kubectl)).values()]
  const voters = nodes.filter((node) => is(node, 'EtcdIsVoter')).map(({ metadata }) => metadata.name)
  const wanted = servers.map(({ name }) => name)
  return [
    ...wanted.filter((name) => !voters.includes(name)).map((name) => `${name} is no voter`),
    ...voters.filter((name) => !wanted.includes(name)).map((name) => `${name} is a voter, and not in servers.tsv`)
  ].join('\n')
}

const hasSnapshot: Step = {
  name: 'has a snapshot of etcd',
  check: `[[ $(k3s etcd-snapshot ls 2>/dev/null | tail -n +2 | wc -l) -gt 0 ]] || echo 'there is none yet'`,
  change: 'k3s etcd-snapshot save --name first',
  timeout: 120
}

if (import.meta.main) await operate([installControlPlane], import.meta.filename)
