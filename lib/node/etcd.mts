import { intervalOf } from '../base/cron.mts'
import { isAbort } from '../base/errors.mts'
import type { Host } from '../input/inventory.mts'
import type { Settings } from '../input/settings.mts'
import { login, type RunOptions, type Ssh } from '../reach/ssh.mts'
import type { Run } from '../run/run.mts'
import type { NodeStep } from '../run/step.mts'
import { removeOldNetwork, removeOldNetworkByHand, sudo } from './k3s.mts'

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
 * Shell that prints the answers of etcd's /health and /metrics. Plain HTTP on loopback: 2381 is etcd's metrics port in K3s
 * (pkg/etcd/etcd.go). It uses bash, because a node may have no curl.
 */
export const etcdShell = (paths: Path[]): string => `for path in ${paths.join(' ')}; do
  exec 3<>/dev/tcp/127.0.0.1/2381 || exit 1
  printf 'GET /%s HTTP/1.0\\r\\n\\r\\n' "$path" >&3
  timeout 10 cat <&3
  exec 3>&-
done`

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

// K3s's retention counts only scheduled snapshots.
const snapshotBeforeRestart = [
  'k3s etcd-snapshot save --name before-restart',
  'k3s etcd-snapshot prune --name before-restart --snapshot-retention 5'
]

/** Before a server's restart: all other voters must be healthy, and a snapshot is taken. */
export const restartGate = (ssh: Ssh, host: Host, servers: Host[]) => {
  const others = servers.filter((other) => other !== host)
  return {
    pass: async (): Promise<void> => {
      await mustBeHealthy(ssh, others)
      await ssh.capture(host, snapshotBeforeRestart.join('\n'), { timeout: 120 })
    },
    byHand: `${healthByHand(others)}
ssh ${login(host)} '${snapshotBeforeRestart.map((command) => sudo(host) + command).join(' && ')}'`
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

/** The step that a server's API is ready and its etcd is a voter. */
export const isVoter = (host: Host): NodeStep => ({
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
