import { intervalOf } from './cron.mts'
import type { Settings } from './settings.mts'
import type { Step } from './step.mts'

/** The step that a server's scheduled snapshots of etcd are taken. The schedule is in the server's time. */
export const snapshotStep = ({ snapshots: { schedule } }: Settings): Step => {
  const interval = Math.round(intervalOf(schedule))
  return {
    name: 'takes snapshots of etcd',
    // One may be due just now, and the one before is then an interval old.
    check: `cd /var/lib/rancher/k3s/server
newest=$(find db/snapshots -type f -printf '%T@\\n' 2>/dev/null | sort -n | tail -n 1)
member=$(( $(date +%s) - $(stat -c %Y tls/server-ca.crt) ))
if [[ -n $newest ]]; then
  age=$(( $(date +%s) - \${newest%.*} ))
  echo "= the newest of $(find db/snapshots -type f | wc -l) is $((age / 60)) min old, one is taken every ${Math.round(interval / 60)} min"
else
  age=$member
  echo '= none yet: the first one is still to come'
fi
((age < 2 * ${interval})) || echo "the newest is $((age / 3600)) h old: the schedule is '${schedule}'"`,
    hint: "on the server: journalctl -u k3s | grep -i snapshot; df -h /var/lib/rancher"
  }
}
