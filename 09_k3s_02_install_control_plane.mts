#!/usr/bin/env -S sh -c 'exec "$(dirname "$(readlink -f "$0")")/lib/run/start.sh" "$0" "$@"'
// 09_k3s_02  Install the control plane
//
// Makes the servers of servers.tsv one K3s control plane with embedded etcd behind the API load balancer. The first
// server starts a cluster only where no server holds one; every other joins it, one at a time, and must be an etcd
// voter and ready before the next. A server whose data is gone is rebuilt from the others. A changed configuration is
// rolled out one server at a time, after a snapshot, while all other voters are healthy. The leader of etcd comes last.
//
// Needs:   09_k3s_01. The load balancer passes 6443/tcp on to the servers.
// Changes: /usr/local/bin/k3s, /etc/rancher/k3s, /var/lib/rancher/k3s, the unit k3s on the servers;
//          ~/.keybuzz/secrets and the context keybuzz-<environment> of ~/.kube/config on the bastion.
// Undo:    on each server `systemctl disable --now k3s`; its data stays in /var/lib/rancher/k3s.
// Example: ./09_k3s_02_install_control_plane.mts --plan

import type { Host } from './lib/input/inventory.mts'
import { apiUrl } from './lib/input/settings.mts'
import { answersThroughBalancer, hasContext, hasReadableKubeconfig, isCertified } from './lib/cluster/kubeconfig.mts'
import { getNodes, is, knowsEveryNode } from './lib/cluster/nodes.mts'
import { readManifest } from './lib/cluster/objects.mts'
import { canBeTakenOver, keepsItsNetworks } from './lib/node/adopt.mts'
import {
  hasNoStaleMember, healthByHand, isOneCluster, isVoter, leaderLast, mayBeChanged, mustBeHealthy, otherMembers, readMembers,
  restartGate
} from './lib/node/etcd.mts'
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
    const members = await readMembers(run, servers)
    await run.once([hasReadableKubeconfig, knowsEveryNode(run), isOneCluster(servers, members)])
    if (!run.stands('cluster')) return run.skipRest()
    const holders = servers.filter(({ name }) => members.get(name)?.ca)
    const running = holders.filter(({ name }) => members.get(name)?.runs)

    await run.on(servers, (host) => [
      canBeTakenOver(host, run), ...(holders.includes(host) ? [keepsItsNetworks(run)] : []), ...hasRelease(host, run, release)
    ])

    const first = holders[0] ?? servers[0]!
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

    // Members that are stopped first, all at once: after a power failure no one of them is ready before another one runs.
    const starts = holders.filter((host) => !running.includes(host) && run.chosen.includes(host))
    await run.on(starts, (host) => [...configured(host, tokens), joins, isStarted(host)])
    await run.on(servers.filter((host) => !holders.includes(host)), async (host) => {
      if (host === first) {
        const founds = isTold('cluster-init: true', 'is told to start the cluster')
        // From then on, should it lose its data, it joins the others again instead of starting a second cluster.
        return [...configured(host, tokens), founds, isStarted(host), isVoter(host), joins]
      }
      // Once the first server runs, its tokens have the hash of the CA that it has made.
      return [
        ...configured(host, await tokensOf(first)), joins, hasNoStaleMember(host, run, first, otherMembers(host, run, members)), reachesApi(run),
        isStarted(host), isVoter(host)
      ]
    }, { atOnce: 1 })
    // Those that run are changed when it is their turn.
    await run.on(leaderLast(holders, members), (host) => {
      const restarts = runsWhatIsConfigured(host, ssh, release.k3s, restartGate(ssh, host, servers))
      if (!running.includes(host)) return [restarts, isVoter(host)]
      const changes = [...configured(host, tokens), joins, isStarted(host), restarts]
      // A plan sees stopped what an apply will have started by then.
      const others = otherMembers(host, run, members).filter((other) => run.mode !== 'plan' || !starts.includes(other))
      return [mayBeChanged(host, run, others, changes), ...changes, isVoter(host)]
    }, { atOnce: 1 })

    const standing = servers.find(run.stands)
    if (!standing) return run.skipRest()
    await run.on(servers, (host) => [isCertified(host, run)])
    await run.once([hasContext(run, standing), answersThroughBalancer(run), hasAllVoters(run)])
    await run.on([standing], () => [hasSnapshot])
  }
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
