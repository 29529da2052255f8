import { AWAY_OR_THERE, NO_OR_YES, type Page } from '../panel.mts'
import { orAway, perSecond, quantile } from '../promql.mts'

const E = 'job="etcd"'
// ..._save_local_...: K3s counts every run of ..._save_... as a success.
const SNAPSHOT = 'k3s_etcd_snapshot_save_local_duration_seconds'

export const etcd: Page = {
  uid: 'etcd',
  title: 'etcd',
  says: 'The store of the cluster. Two of three members must agree on each write, and each must have it on disk.',
  sections: [
    {
      title: 'Is it there?',
      panels: [
        {
          kind: 'states', title: 'Members', alerts: ['EtcdMemberDown'], related: ['EtcdQuorumLost'],
          says: 'Whether each member answers. With two away nothing in the cluster can be changed.',
          unit: 'short', size: [8, 6], words: AWAY_OR_THERE, queries: [{ expr: `min by (node) (up{${E}})`, legend: '{{node}}' }]
        },
        {
          kind: 'states', title: 'Who leads',
          says: 'Exactly one member leads. Each change of the leader stops writes for seconds.',
          unit: 'short', size: [8, 6], words: [[0, 'follows', 'text'], [1, 'leads', 'blue']],
          queries: [{ expr: `max by (node) (etcd_server_is_leader{${E}})`, legend: '{{node}}' }]
        },
        {
          kind: 'number', title: 'Members with a leader', alerts: ['EtcdNoLeader'],
          says: 'A member without one has lost the others.',
          unit: 'short', size: [4, 6], words: NO_OR_YES,
          queries: [{ expr: orAway('node', `etcd_server_has_leader{${E}}`, `up{${E}}`), legend: '{{node}}' }]
        },
        {
          kind: 'number', title: 'Elections in an hour', alerts: ['EtcdLeaderChanges'],
          says: 'How often the leader changed, as the member that saw most of it counts.',
          unit: 'short', decimals: 0, size: [4, 6],
          queries: [{ expr: `max(increase(etcd_server_leader_changes_seen_total{${E}}[1h]))` }]
        }
      ]
    },
    {
      title: 'Are disks and network fast enough?',
      panels: [
        {
          kind: 'lines', title: 'Writing the log to disk, 99 of 100', unit: 's', size: [8, 8],
          alerts: ['EtcdSlowDisk'], says: 'Every write waits for this. etcd recommends 10 ms. At 100 ms the leader is lost.',
          queries: [{ expr: quantile(0.99, 'node', `etcd_disk_wal_fsync_duration_seconds_bucket{${E}}`), legend: '{{node}}' }]
        },
        {
          kind: 'lines', title: 'Committing to the database, 99 of 100', unit: 's', size: [8, 8],
          says: 'etcd recommends less than 25 ms. A slow disk, or a neighbour that uses it.',
          queries: [{
            expr: quantile(0.99, 'node', `etcd_disk_backend_commit_duration_seconds_bucket{${E}}`),
            legend: '{{node}}'
          }]
        },
        {
          kind: 'lines', title: 'Round trip to another member, 99 of 100', unit: 's', size: [8, 8],
          says: 'The private network between the servers. It must be far below the election timeout of the settings.',
          queries: [{
            expr: quantile(0.99, 'node', `etcd_network_peer_round_trip_time_seconds_bucket{${E}}`),
            legend: '{{node}}'
          }]
        }
      ]
    },
    {
      title: 'Does it fill up, does it keep up?',
      panels: [
        {
          kind: 'lines', title: 'Database, of its quota', unit: 'percentunit', size: [8, 8], max: 1,
          alerts: ['EtcdDatabaseBig', 'EtcdDatabaseFull'],
          says: 'At 100 % etcd refuses every write until it is compacted and defragmented.',
          queries: [{
            expr: `max by (node) (etcd_mvcc_db_total_size_in_bytes{${E}} / etcd_server_quota_backend_bytes{${E}})`,
            legend: '{{node}}'
          }]
        },
        {
          kind: 'lines', title: 'Database', unit: 'bytes', size: [8, 8],
          says: 'The file, and the part of it that is in use. A defragmentation gives back what lies between.',
          queries: [
            { expr: `max by (node) (etcd_mvcc_db_total_size_in_bytes{${E}})`, legend: '{{node}} file' },
            { expr: `max by (node) (etcd_mvcc_db_total_size_in_use_in_bytes{${E}})`, legend: '{{node}} in use' }
          ]
        },
        {
          kind: 'lines', title: 'Writes', unit: 'wps', size: [8, 8],
          says: 'Agreed writes in a second, as the leader counts them, and those that failed.',
          queries: [
            { expr: `max(${perSecond(`etcd_server_proposals_committed_total{${E}}`)})`, legend: 'committed' },
            { expr: `sum(${perSecond(`etcd_server_proposals_failed_total{${E}}`)})`, legend: 'failed' }
          ]
        }
      ]
    },
    {
      title: 'Snapshots',
      panels: [
        {
          kind: 'lines', title: 'Snapshots of the last 25 hours', unit: 'short', decimals: 0, size: [8, 8],
          related: ['EtcdSnapshotOld'],
          says: 'How many each server has saved. 0 for long: none is made.',
          queries: [{
            expr: `sum by (node) (increase(${SNAPSHOT}_count{job="kubelet", status="success"}[25h]))`,
            legend: '{{node}}'
          }]
        },
        {
          kind: 'lines', title: 'Snapshots that failed within 7 hours', unit: 'short', decimals: 0, size: [8, 8],
          alerts: ['EtcdSnapshotFailed'],
          says: 'The disk is full or slow, or etcd was away.', nothing: 'None ever failed',
          queries: [{ measuredBy: 'EtcdSnapshotFailed', legend: '{{node}}' }]
        },
        {
          kind: 'lines', title: 'Time that a snapshot takes', unit: 's', size: [8, 8],
          says: 'The mean since K3s of the server started.',
          queries: [{
            expr: `sum by (node) (${SNAPSHOT}_sum{job="kubelet"}) / (sum by (node) (${SNAPSHOT}_count{job="kubelet"}) > 0)`,
            legend: '{{node}}'
          }]
        }
      ]
    }
  ]
}
