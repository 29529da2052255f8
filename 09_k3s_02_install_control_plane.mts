#!/usr/bin/env -S sh -c 'exec "$(dirname "$(readlink -f "$0")")/lib/run/start.sh" "$0" "$@"'
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

import type { Host } from './lib/input/inventory.mts'
import { apiUrl } from './lib/input/settings.mts'
import { answersThroughBalancer, hasContext, isCertified } from './lib/cluster/kubeconfig.mts'
import { getNodes, is } from './lib/cluster/nodes.mts'
import { readManifest } from './lib/cluster/objects.mts'
import { hasNoStaleMember, healthByHand, isVoter, mustBeHealthy, restartGate } from './lib/node/etcd.mts'
import {
  auditLogs, givesPodsNameservers, hasConfig, hasRelease, hasToken, hasUnit, isStarted, runsWhatIsConfigured, serverConfig
} from './lib/node/k3s.mts'
import { readNics } from './lib/node/nic.mts'
import { clusterTokens, type Tokens } from './lib/node/tokens.mts'
import { value } from './lib/run/flags.mts'
import type { Run } from './lib/run/run.mts'
import { operate, script } from './lib/run/script.mts'
import { fileStep, type ClusterStep, type NodeStep } from './lib/run/step.mts'

export const installControlPlane = script({
  id: '09_k3s_02',
  title: 'Install the control plane',
  file: import.meta.filename,
  role: 'server',
  flags: { 'token-file': value('FILE', 'the token of a cluster that another bastion made (or K3S_TOKEN)') },
  story: async (run, flags) => {
    const { settings, servers, ssh } = run
    const release = await run.release()
    const audit = await readManifest('02_control_plane/audit-policy.yaml')
    const nics = await readNics(run, servers)
    const clusters = await run.ask(servers, clusterOfServer)
    const holders = servers.filter(({ name }) => clusters.get(name))
    await run.once([isOneCluster(servers, clusters)])
    if (!run.stands('cluster')) return

    await run.on(servers, (host) => hasRelease(host, run, release))

    const first = holders[0] ?? servers[0]!
    // Every other server that is a member, or may be one and does not answer.
    const others = (host: Host): Host[] =>
      servers.filter((other) => other !== host && (run.mode === 'runbook' || holders.includes(other) || !clusters.has(other.name)))
    const tokensOf = (from: Host | undefined): Promise<Tokens> => clusterTokens(run, { from, file: flags['token-file'] })
    const configured = (host: Host, tokens: Tokens): NodeStep[] => [
      hasToken('token', tokens.server),
      hasToken('agent-token', tokens.agent, 'secret'),
      fileStep('/etc/rancher/k3s/audit-policy.yaml', audit, { mode: '0600', name: 'has the audit policy' }),
      keepsAuditLogPrivate,
      givesPodsNameservers(settings),
      hasConfig(serverConfig(host, run, nics.get(host.name) ?? '')),
      hasUnit(host)
    ]
    const joins = isTold(`server: ${apiUrl(settings)}`, 'is told to join the others')
    const tokens = await tokensOf(holders[0])

    // Members first, all at once: after a power failure no one of them is ready before another one runs.
    await run.on(holders, (host) => [keepsItsNetworks(run), ...configured(host, tokens), joins, isStarted(host)])
    await run.on(servers.filter((host) => !holders.includes(host)), async (host) => {
      if (host === first) {
        const starts = isTold('cluster-init: true', 'is told to start the cluster')
        // From then on, should it lose its data, it joins the others again instead of starting a second cluster.
        return [...configured(host, tokens), starts, isStarted(host), isVoter(host), joins]
      }
      // Once the first server runs, its tokens have the hash of the CA that it has made.
      const secured = await tokensOf(first)
      return [
        ...configured(host, secured), joins, hasNoStaleMember(host, run, first, others(host)), reachesApi(run),
        isStarted(host), isVoter(host)
      ]
    }, { atOnce: 1 })
    await run.on(holders, (host) => [runsWhatIsConfigured(host, ssh, restartGate(ssh, host, servers)), isVoter(host)], { atOnce: 1 })

    if (!run.stands(first)) return
    await run.on(servers, (host) => [isCertified(host, run)])
    await run.once([hasContext(run, first), answersThroughBalancer(run), hasAllVoters(run)])
    await run.on([first], () => [hasSnapshot])
  }
})

// The SHA-256 of the CA of the cluster whose etcd data a server holds, or nothing.
const clusterOfServer = {
  what: "cluster's data it holds",
  shell: () => `cd /var/lib/rancher/k3s/server 2>/dev/null || exit 0
if [[ -d db/etcd/member/wal ]]; then sha256sum tls/server-ca.crt 2>/dev/null || echo unfinished; fi`,
  bare: ''
}

// A second cluster beside the first would be found only when data is missing. So nothing is started on a guess.
const isOneCluster = (servers: Host[], clusters: Map<string, string>): ClusterStep => ({
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
  look: '# Compare the answers above: all the same, or none.',
  hint: 'bring every server back first; one that is gone for good is replaced by a new one with its name and address'
})

// All addresses in a cluster come from these, so they are chosen once; K3s refuses servers that differ.
const keepsItsNetworks = ({ settings: { network } }: Run): NodeStep => ({
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

const keepsAuditLogPrivate: NodeStep = {
  name: 'has a private folder for the audit log',
  check: `[[ $(stat -c %a ${auditLogs} 2>/dev/null) == 700 ]] || echo 'is missing, or open to others'`,
  change: `install -d -m 0700 ${auditLogs}`
}

// Read only while the server has no etcd data of its own; from then on K3s ignores it.
const isTold = (how: string, name: string): NodeStep =>
  fileStep('/etc/rancher/k3s/config.yaml.d/00-join.yaml', `${how}\n`, { mode: '0600', name })

const reachesApi = ({ settings }: Run): NodeStep => ({
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

const hasAllVoters = ({ servers, kubectl, ssh }: Run): ClusterStep => ({
  name: `has ${servers.length} voters, all healthy`,
  check: async () => {
    await mustBeHealthy(ssh, servers)
    const nodes = [...(await getNodes(kubectl)).values()]
    const voters = nodes.filter((node) => is(node, 'EtcdIsVoter')).map(({ metadata }) => metadata.name)
    const wanted = servers.map(({ name }) => name)
    return [
      ...wanted.filter((name) => !voters.includes(name)).map((name) => `${name} is no voter`),
      ...voters.filter((name) => !wanted.includes(name)).map((name) => `${name} is a voter, and not in servers.tsv`)
    ].join('\n')
  },
  look: `${healthByHand(servers)}
kubectl get nodes -o 'custom-columns=NAME:.metadata.name,VOTER:.status.conditions[?(@.type=="EtcdIsVoter")].status'`,
  within: 60
})

const hasSnapshot: NodeStep = {
  name: 'has a snapshot of etcd',
  check: `[[ $(k3s etcd-snapshot ls 2>/dev/null | tail -n +2 | wc -l) -gt 0 ]] || echo 'there is none yet'`,
  change: 'k3s etcd-snapshot save --name first',
  timeout: 120
}

if (import.meta.main) await operate([installControlPlane], import.meta.filename)
