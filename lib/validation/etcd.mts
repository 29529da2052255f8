import { mebibytes } from '../base/words.mts'
import type { Host } from '../input/inventory.mts'
import { etcdShell, readEtcd, type EtcdState } from '../node/etcd.mts'
import { login } from '../reach/ssh.mts'
import type { Run } from '../run/run.mts'
import type { ClusterStep, NodeStep } from '../run/step.mts'

type Asking = Pick<Run, 'ssh' | 'settings' | 'servers'>

/** What the servers' etcds have told of themselves, by the server's name. */
export type EtcdStates = Map<string, EtcdState>

const lookAt = (servers: Host[]): string => `for server in ${servers.map(login).join(' ')}; do
  echo "$server"
  ssh "$server" bash -s <<'END'
${etcdShell(['health', 'metrics'])}
END
done | grep -E '@|^\\{|^etcd_(server_(is_leader|is_learner|leader_changes|quota_backend)|mvcc_db_total_size|disk_wal_fsync_duration)'`

/** The step that a server's etcd votes, has room, and has a fast disk. What it tells is put into `states`. */
export const hasSoundEtcd = (host: Host, { ssh, settings, servers }: Asking, states: EtcdStates): NodeStep => ({
  name: 'has a sound etcd',
  check: async () => {
    const state = await readEtcd(ssh, host)
    states.set(host.name, state)
    return judgeEtcd(state, settings.prepare.etcd_fsync_p99).join('\n')
  },
  look: lookAt(servers),
  hint: 'docs/when-it-is-down.md; journalctl -u k3s | grep etcd'
})

/** Evidence of a server's etcd, and in words what is wrong with it. `most` is milliseconds for 99 of 100 fsyncs. */
export const judgeEtcd = (state: EtcdState, most: number): string[] => {
  const { leads, healthy, hasLeader, isLearner, size, quota, fsyncP99, leaderChanges } = state
  const filled = `${mebibytes(size)} of ${mebibytes(quota)}`
  const fsyncs = `99 of 100 fsyncs within ${(fsyncP99 * 1000).toFixed(0)} ms`
  return [
    `= ${leads ? 'leads' : 'follows'}; ${filled}; ${fsyncs}; leader changes seen: ${leaderChanges}`,
    ...(healthy && hasLeader ? [] : ['is not healthy: it has no leader']),
    ...(isLearner ? ['is a learner still, and does not vote'] : []),
    ...(size > quota * 0.8 ? ['is almost full: at its quota the cluster turns read-only'] : []),
    // A bucket of the histogram is twice as wide as the one before: the true value may be half of what is known.
    ...(fsyncP99 * 1000 > most * 2 ? [`its disk is slow: 99 of 100 fsyncs are to end within ${most} ms`] : [])
  ]
}

/** The step that every server votes, and one leads. Servers that are not in `states`, as --hosts left them out, are asked. */
export const hasOneLeader = ({ ssh, servers }: Asking, states: EtcdStates): ClusterStep => ({
  name: `has ${servers.length} voters and one leader`,
  check: async () => {
    const all = await Promise.all(servers.map(async (host) => ({
      host, state: states.get(host.name) ?? (await readEtcd(ssh, host).catch(() => undefined))
    })))
    const leaders = all.filter(({ state }) => state?.leads).map(({ host }) => host.name)
    const voters = all.filter(({ state }) => state?.healthy && !state.isLearner).length
    return [
      `= ${leaders.join(', ') || 'nobody'} leads`,
      ...(leaders.length === 1 ? [] : [`${leaders.length} leaders`]),
      ...(voters === servers.length ? [] : [`${voters} of ${servers.length} vote`])
    ].join('\n')
  },
  look: lookAt(servers)
})
