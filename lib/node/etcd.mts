import { intervalOf } from '../base/cron.mts'
import { isAbort } from '../base/errors.mts'
import type { Host } from '../input/inventory.mts'
import type { Settings } from '../input/settings.mts'
import { login, type RunOptions, type Ssh } from '../reach/ssh.mts'
import type { Question, Run } from '../run/run.mts'
import { batchFindings, batchScript, holds, isAskedOnNode, type ClusterStep, type NodeStep } from '../run/step.mts'
import { kubeletShell, lastErrors, removeOldNetwork, removeOldNetworkByHand, sudo } from './k3s.mts'

/** What a server holds of a cluster. `ca` is the SHA-256 of the CA of the cluster whose etcd data it has, or ''. */
export type Membership = { ca: string; runs: boolean; leads: boolean }

/** The state of a server's etcd. Sizes are bytes, times seconds. */
export type EtcdState = {
  leads: boolean
  hasLeader: boolean
  isLearner: boolean
  healthy: boolean
  size: number
  quota: number
  /** 99 of 100 fsyncs of the log took at most this long, since etcd's start. It is the upper bound of a histogram bucket. */
  fsyncP99: number
  leaderChanges: number
}

type Path = 'health' | 'metrics'

/**
 * Shell that prints the answers of etcd's /health and /metrics. Plain HTTP: 2381 is etcd's metrics port in K3s, on loopback
 * whether or not it is on IP_PRIVEE too (pkg/etcd/etcd.go, listenMetricsURLs). It uses bash, because a node may have no curl.
 */
export const etcdShell = (paths: Path[]): string => `for path in ${paths.join(' ')}; do
  exec 3<>/dev/tcp/127.0.0.1/2381 || exit 1
  printf 'GET /%s HTTP/1.0\\r\\n\\r\\n' "$path" >&3
  timeout 10 cat <&3
  exec 3>&-
done`

const askMembership: Question = {
  what: "cluster's data it holds (and whether K3s runs there, and its etcd leads)",
  shell: () => `cd /var/lib/rancher/k3s/server 2>/dev/null || exit 0
if [[ ! -d db/etcd/member/wal ]]; then exit; fi
ca=$(sha256sum tls/server-ca.crt 2>/dev/null || true)
echo "\${ca:-unfinished}"
[[ ! $(systemctl is-active k3s || true) =~ ^(active|activating)$ ]] || echo runs
{ ${etcdShell(['metrics'])}
} 2>/dev/null | grep -x 'etcd_server_is_leader 1' || true`,
  bare: ''
}

/** What each server holds of a cluster, by its name. A server that does not answer is left out. */
export const readMembers = async (run: Pick<Run, 'ask'>, servers: Host[]): Promise<Map<string, Membership>> =>
  new Map([...await run.ask(servers, askMembership)].map(([name, answer]) => {
    const [ca = '', ...rest] = answer.split('\n')
    return [name, { ca: ca.split(' ')[0] ?? '', runs: rest.includes('runs'), leads: rest.some((line) => line.startsWith('etcd_')) }]
  }))

/** Every other server that is a member, or may be one and does not answer. In a runbook, which asks nobody, all of them. */
export const otherMembers = (host: Host, { servers, mode }: Pick<Run, 'servers' | 'mode'>, members: Map<string, Membership>): Host[] =>
  servers.filter((other) => other !== host && (mode === 'runbook' || members.get(other.name)?.ca !== ''))

/** Servers in the order of their restarts. The one that leads etcd comes last: then the lead moves only once. */
export const leaderLast = (servers: Host[], members: Map<string, Membership>): Host[] => {
  const leads = ({ name }: Host): number => (members.get(name)?.leads ? 1 : 0)
  return servers.toSorted((a, b) => leads(a) - leads(b))
}

/**
 * The step that the servers hold one cluster, or none. A second cluster beside the first would be found only when data is
 * missing. So nothing is started on a guess.
 */
export const isOneCluster = (servers: Host[], members: Map<string, Membership>): ClusterStep => ({
  name: 'is one cluster, or none yet',
  always: true,
  check: async () => {
    const silent = servers.filter(({ name }) => !members.has(name)).map(({ name }) => name)
    const found = new Set([...members.values()].map(({ ca }) => ca).filter((ca) => ca !== '' && ca !== 'unfinished'))
    const holding = [...members].filter(([, { ca }]) => ca !== '').map(([name, { ca }]) => `${name} ${ca.slice(0, 8)}`)
    if (found.size > 1) return `the servers hold different clusters: ${holding.join(', ')}`
    if (holding.length === 0 && silent.length > 0) return `${silent.join(', ')} may hold a cluster, and does not answer`
    return ''
  },
  look: '# Compare the answers above: all the same, or none.',
  hint: 'bring every server back first; one that is gone for good is replaced by a new one with its name and address'
})

const wanted = '^\\{|^etcd_(server_(is_leader|has_leader|is_learner|leader_changes_seen_total|quota_backend_bytes)|mvcc_db_total_size_in_bytes|disk_wal_fsync_duration_seconds_(bucket|count))[ {]'

type Asking = {
  /** /health waits for a quorum: leave it out to find the leader quickly. */
  paths?: Path[]
} & Pick<RunOptions, 'timeout' | 'signal'>

/** Reads the state of a server's etcd. Throws where it does not answer. */
export const readEtcd = async (ssh: Ssh, host: Host, { paths = ['health', 'metrics'], ...options }: Asking = {}): Promise<EtcdState> =>
  parseEtcd(await ssh.capture(host, `{ ${etcdShell(paths)}\n} | grep -E '${wanted}'`, options))

/** Reads what etcd's /health and /metrics print. */
export const parseEtcd = (text: string): EtcdState => {
  const metrics = new Map([...text.matchAll(/^(etcd_\S+) (\S+)$/gm)].map(([, name = '', value]) => [name, Number(value)]))
  const value = (name: string): number => metrics.get(`etcd_${name}`) ?? 0
  const fsync = 'etcd_disk_wal_fsync_duration_seconds'
  const count = metrics.get(`${fsync}_count`) ?? 0
  const bucket = [...metrics].find(([name, below]) => name.startsWith(`${fsync}_bucket`) && below >= count * 0.99)?.[0] ?? ''
  return {
    leads: value('server_is_leader') === 1,
    hasLeader: value('server_has_leader') === 1,
    isLearner: value('server_is_learner') === 1,
    healthy: text.includes('"health":"true"'),
    size: value('mvcc_db_total_size_in_bytes'),
    quota: value('server_quota_backend_bytes'),
    fsyncP99: Number(/le="([^"]+)"/.exec(bucket)?.[1]?.replace('+Inf', 'Infinity') ?? 0),
    leaderChanges: value('server_leader_changes_seen_total')
  }
}

/** Throws where etcd on one of the servers is not healthy: without one more server the quorum could be lost. */
export const mustBeHealthy = async (ssh: Ssh, servers: Host[]): Promise<void> => {
  const answers = await Promise.all(servers.map((host) => readEtcd(ssh, host).catch((error: unknown) => {
    if (isAbort(error)) throw error
    return { healthy: false }
  })))
  const sick = servers.filter((_, index) => !answers[index]?.healthy).map(({ name }) => name)
  if (sick.length > 0) throw new Error(`the quorum would be at risk: etcd on ${sick.join(', ')} is not healthy`)
}

/**
 * The step that nothing is changed on a server while etcd on one of the `others` is not healthy: the restart that follows
 * would cost the quorum. It looks only where one of the `changes` is due.
 */
export const mayBeChanged = (host: Host, { ssh }: Pick<Run, 'ssh'>, others: Host[], changes: NodeStep[]): NodeStep => ({
  name: 'may be changed',
  always: true,
  check: async () => {
    const looked = await ssh.run(host, batchScript({ steps: changes.filter(isAskedOnNode), waiting: false }))
    if (looked.exitCode === 0 && batchFindings(looked).every(holds)) return '= nothing is to be changed'
    await mustBeHealthy(ssh, others)
    return '= etcd on all others is healthy'
  },
  look: `# Only where something below is to be changed:\n${healthByHand(others)}`,
  within: 120, // after a power failure the others are still starting
  timeout: 30,
  hint: 'docs/when-it-is-down.md, "One server is down"'
})

// K3s's retention counts only scheduled snapshots.
const snapshotBeforeRestart = [
  'k3s etcd-snapshot save --name before-restart',
  'k3s etcd-snapshot prune --name before-restart --snapshot-retention 5'
]

/**
 * Python for a server: where its etcd leads, another voter takes over before the server restarts. Else nobody can write
 * until the others have waited for the election timeout. K3s's etcd reads a config file (pkg/daemons/executor), where the
 * JSON gateway is on by default (etcd, embed.NewConfig), and serves it on 2382 (listen-client-http-urls). Older
 * releases, and the lab's double, serve it on 2379. Exits with an error where it cannot be done.
 */
export const handOverLead = `python3 - <<'END'
import json, ssl, urllib.request
tls = '/var/lib/rancher/k3s/server/tls/etcd/'
context = ssl.create_default_context(cafile=tls + 'server-ca.crt')
context.verify_flags &= ~getattr(ssl, 'VERIFY_X509_STRICT', 0)  # K3s's certificates have no key identifier
context.load_cert_chain(tls + 'client.crt', tls + 'client.key')
def ask(port, path, body):
    request = urllib.request.Request(f'https://127.0.0.1:{port}/v3/{path}', json.dumps(body).encode())
    return json.load(urllib.request.urlopen(request, timeout=10, context=context))
def find():
    for port in (2382, 2379):
        try:
            return port, ask(port, 'maintenance/status', {})
        except (OSError, ValueError) as error:
            fault = error
    raise SystemExit(f'etcd cannot be asked to hand over: {fault}')
port, status = find()
own = status['header']['member_id']
if status['leader'] == own:
    voters = [one for one in ask(port, 'cluster/member/list', {})['members'] if one['ID'] != own and not one.get('isLearner')]
    if voters:
        ask(port, 'maintenance/transfer-leadership', {'targetID': voters[0]['ID']})
        print('etcd is now led by ' + voters[0]['name'])
END`

/**
 * Before a server's restart: all other voters must be healthy, a snapshot is taken, and another server takes the lead of
 * etcd. Where that last one cannot be done the others elect a leader by themselves, some seconds later.
 */
export const restartGate = (ssh: Ssh, host: Host, servers: Host[]) => {
  const others = servers.filter((other) => other !== host)
  return {
    pass: async (): Promise<void> => {
      await mustBeHealthy(ssh, others)
      await ssh.capture(host, snapshotBeforeRestart.join('\n'), { timeout: 120 })
      await ssh.run(host, handOverLead, { timeout: 40 })
    },
    byHand: `${healthByHand(others)}
ssh ${login(host)} '${snapshotBeforeRestart.map((command) => sudo(host) + command).join(' && ')}'
# Where its etcd leads, another one takes over. Go on also where this fails.
ssh ${login(host)} ${sudo(host)}bash -s <<'SCRIPT'
${handOverLead}
SCRIPT`
  }
}

/** How to check by hand that etcd is healthy on these servers. */
export const healthByHand = (servers: Host[]): string => `# Each must say "health":"true". Go on only then.
for server in ${servers.map(login).join(' ')}; do
  printf '\\n%s:\\n' "$server"
  ssh "$server" bash -s <<'END'
${etcdShell(['health'])}
END
done`

/** The step that a server's kubelet is well since K3s was started, its API is ready, and its etcd is a voter. */
export const isVoter = (host: Host): NodeStep => ({
  name: 'is ready, and a voter of etcd',
  check: `if ! why=$(k3s kubectl get --raw /readyz 2>&1); then
  failing=$(grep -oE '\\[-\\][^\\"]+' <<<"$why") || failing=$(tail -n 1 <<<"$why")
  echo "its API is not ready: \${failing//$'\\n'/, }"
  ${lastErrors('k3s')}
  exit
fi
${kubeletShell(host, 'k3s kubectl')}
is=$(k3s kubectl get node ${host.name} -o jsonpath='{range .status.conditions[*]}{.type}={.status} {end}' 2>&1)
[[ " $is " == *" EtcdIsVoter=True "* ]] || echo 'is not EtcdIsVoter yet'`,
  within: 300,
  timeout: 30,
  vital: true,
  hint: `ssh ${login(host)} ${sudo(host)}journalctl -u k3s -e`
})

/**
 * The step that a server without data has no stale etcd member. K3s removes the member with the Node (k3s#10462). With
 * another voter down that could lose the quorum. `member` is a server that runs; all `others` must be healthy.
 */
export const hasNoStaleMember = (host: Host, { ssh }: Pick<Run, 'ssh'>, member: Host, others: Host[]): NodeStep => {
  const remove = `k3s kubectl delete node ${host.name} --timeout=60s`
  return {
    name: 'has no stale etcd member',
    check: async () => {
      const node = await ssh.capture(member, `k3s kubectl get node ${host.name} --ignore-not-found -o name`)
      return node.trim() === '' ? '' : 'its data is gone, and etcd still counts it: is removed before it joins anew'
    },
    look: `ssh ${login(member)} ${sudo(member)}k3s kubectl get node ${host.name}     # "not found" is what should be`,
    change: async () => {
      await mustBeHealthy(ssh, others)
      await ssh.capture(member, remove, { timeout: 90 })
      await ssh.capture(host, removeOldNetwork)
    },
    // A runbook is made for bare nodes, where nobody else is known to be a member.
    byHand: `${healthByHand([...new Set([member, ...others])])}
ssh ${login(member)} ${sudo(member)}${remove}
${removeOldNetworkByHand(host)}`
  }
}

/** The step that a server's scheduled snapshots of etcd are taken. The schedule is in the server's time. */
export const takesSnapshots = ({ snapshots: { schedule } }: Settings): NodeStep => {
  const interval = Math.round(intervalOf(schedule))
  return {
    name: 'takes snapshots of etcd',
    // The next one may be due at this moment: the last one is then one interval old.
    check: `cd /var/lib/rancher/k3s/server
newest=$({ find db/snapshots -type f -printf '%T@\\n' 2>/dev/null || true; } | sort -n | tail -n 1)
if [[ -n $newest ]]; then
  age=$(( $(date +%s) - \${newest%.*} )); late="the newest is $((age / 3600)) h old"
  echo "= the newest of $(find db/snapshots -type f | wc -l) is $((age / 60)) min old, one is taken every ${Math.round(interval / 60)} min"
else
  age=$(( $(date +%s) - $(stat -c %Y tls/server-ca.crt) )); late="none was taken in $((age / 3600)) h"
  ((age >= 2 * ${interval})) || echo '= none yet: the first one is still to come'
fi
((age < 2 * ${interval})) || echo "$late: the schedule is '${schedule}'"`,
    hint: 'on the server: journalctl -u k3s | grep -i snapshot; df -h /var/lib/rancher'
  }
}
