import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { parseEtcd } from '../../../lib/node/etcd.mts'

const leader = `{"health":"true","reason":""}
etcd_disk_wal_fsync_duration_seconds_bucket{le="0.001"} 900
etcd_disk_wal_fsync_duration_seconds_bucket{le="0.008"} 985
etcd_disk_wal_fsync_duration_seconds_bucket{le="0.016"} 995
etcd_disk_wal_fsync_duration_seconds_bucket{le="+Inf"} 1000
etcd_disk_wal_fsync_duration_seconds_count 1000
etcd_mvcc_db_total_size_in_bytes 4.2e+06
etcd_server_has_leader 1
etcd_server_is_leader 1
etcd_server_is_learner 0
etcd_server_leader_changes_seen_total 3
etcd_server_quota_backend_bytes 2.147483648e+09
`

test('what etcd tells is read', () => {
  assert.equal(parseEtcd(leader), {
    leads: true, hasLeader: true, isLearner: false, healthy: true,
    size: 4_200_000, quota: 2 ** 31, fsyncP99: 0.016, leaderChanges: 3
  })
})

test('an etcd that has lost its quorum has no leader and is not healthy', () => {
  const lost = parseEtcd(leader.replace('"true"', '"false"').replace('has_leader 1', 'has_leader 0').replace('is_leader 1', 'is_leader 0'))
  assert.equal([lost.healthy, lost.hasLeader, lost.leads], [false, false, false])
})

test('fsyncs slower than the last bucket are beyond every bound', () => {
  assert.is(parseEtcd(leader.replaceAll(/ (900|985|995)$/gm, ' 1')).fsyncP99, Infinity)
})

test.run()
