import { intervalOf } from '../base/cron.mts'
import type { Host } from '../input/inventory.mts'
import type { Settings } from '../input/settings.mts'
import { capture } from '../reach/ssh.mts'
import type { Step } from '../run/step.mts'

/** What a server's etcd tells of itself. Sizes are bytes, times seconds. */
export type EtcdState = {
  leads: boolean
  hasLeader: boolean
  isLearner: boolean
  healthy: boolean
  size: number
  quota: number
  /** The time that 99 of 100 fsyncs of the log took at most, since etcd's start: an upper bound, a bucket's end. */
  fsyncP99: number
  leaderChanges: number
}

// Plain HTTP on loopback: 2381 is etcd's own metrics address in K3s (pkg/etcd/etcd.go).
const ask = `for path in health metrics; do
  exec 3<>/dev/tcp/127.0.0.1/2381
  printf 'GET /%s HTTP/1.0\\r\\n\\r\\n' "$path" >&3
  cat <&3 | grep -E '^\\{|^etcd_(server_(is_leader|has_leader|is_learner|leader_changes_seen_total|quota_backend_bytes)|mvcc_db_total_size_in_bytes|disk_wal_fsync_duration_seconds_(bucket|count))[ {]'
done`

/** Reads the state of a server's etcd. Throws where it does not answer. */
export const readEtcd = async (host: Host): Promise<EtcdState> => parseEtcd(await capture(host, ask))

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

/** The step that a server's scheduled snapshots of etcd are taken. The schedule is in the server's time. */
export const snapshotStep = ({ snapshots: { schedule } }: Settings): Step => {
  const interval = Math.round(intervalOf(schedule))
  return {
    name: 'takes snapshots of etcd',
    // One may be due just now, and the one before is then an interval old.
    check: `cd /var/lib/rancher/k3s/server
newest=$({ find db/snapshots -type f -printf '%T@\\n' 2>/dev/null || true; } | sort -n | tail -n 1)
if [[ -n $newest ]]; then
  age=$(( $(date +%s) - \${newest%.*} ))
  echo "= the newest of $(find db/snapshots -type f | wc -l) is $((age / 60)) min old, one is taken every ${Math.round(interval / 60)} min"
else
  age=$(( $(date +%s) - $(stat -c %Y tls/server-ca.crt) ))
  echo '= none yet: the first one is still to come'
fi
((age < 2 * ${interval})) || echo "the newest is $((age / 3600)) h old: the schedule is '${schedule}'"`,
    hint: 'on the server: journalctl -u k3s | grep -i snapshot; df -h /var/lib/rancher'
  }
}
