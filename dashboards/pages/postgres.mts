import { AWAY_OR_THERE, type Page } from '../panel.mts'
import { orAway, perSecond } from '../promql.mts'

const P = 'job="postgres"'
const D = `${P}, datname!~"template.*"`

export const postgres: Page = {
  uid: 'postgres',
  title: 'PostgreSQL',
  says: 'The PostgreSQL servers outside the cluster, each asked by itself, and the address that applications use.',
  sections: [
    {
      title: 'Is it there?',
      panels: [
        {
          kind: 'states', title: 'Servers', related: ['PostgresDown', 'PostgresHostDown', 'MetricsRefused'],
          says: 'Whether each server lets the exporter log in.', unit: 'short', size: [8, 7],
          words: AWAY_OR_THERE, queries: [{ expr: orAway('instance', `pg_up{${P}}`, `up{${P}}`), legend: '{{instance}}' }]
        },
        {
          kind: 'states', title: 'Which is the primary', related: ['PostgresTwoPrimaries'],
          says: 'Exactly one is: it takes the writes. Patroni decides which.', unit: 'short', size: [8, 7],
          words: [[0, 'primary', 'blue'], [1, 'replica', 'text']],
          queries: [{ expr: `max by (instance) (pg_replication_is_replica{${P}})`, legend: '{{instance}}' }]
        },
        {
          kind: 'states', title: 'The address that applications use', alerts: ['PostgresDown'],
          says: 'Whether a pod can connect to it: the load balancer in front.', unit: 'short',
          size: [8, 7], words: AWAY_OR_THERE,
          queries: [{ expr: 'min by (backend) (probe_success{job="backends", backend="postgres"})', legend: '{{backend}}' }]
        }
      ]
    },
    {
      title: 'Is it full?',
      panels: [
        {
          kind: 'lines', title: 'Connections, of the most', unit: 'percentunit', size: [8, 8], max: 1,
          alerts: ['PostgresConnectionsHigh'],
          says: 'At 100 % applications are refused. Each pod keeps its own connections: see docs/backends.md.',
          queries: [{
            expr: `sum by (instance) (pg_stat_activity_count{${P}}) / max by (instance) (pg_settings_max_connections{${P}})`,
            legend: '{{instance}}'
          }]
        },
        {
          kind: 'lines', title: 'Connections, by database', unit: 'short', size: [8, 8], stacked: true, says: 'On all servers.',
          queries: [{ expr: `sum by (datname) (pg_stat_database_numbackends{${D}})`, legend: '{{datname}}' }]
        },
        {
          kind: 'lines', title: 'Size of the databases', unit: 'bytes', size: [8, 8], stacked: true,
          says: 'On the largest server of each.',
          queries: [{ expr: `max by (datname) (pg_database_size_bytes{${D}})`, legend: '{{datname}}' }]
        }
      ]
    },
    {
      title: 'Do replicas follow?',
      panels: [
        {
          kind: 'lines', title: 'Replicas are behind by', unit: 's', size: [12, 8],
          alerts: ['PostgresReplicaLags'], related: ['PostgresReplicaMissing'],
          says: 'What a failover would lose, in time. A primary shows 0.',
          queries: [{ expr: `max by (instance) (pg_replication_lag_seconds{${P}})`, legend: '{{instance}}' }]
        },
        {
          kind: 'lines', title: 'Log on disk', unit: 'bytes', size: [12, 8],
          says: 'It grows where a replica or an archive does not take it. It can fill the disk.',
          queries: [{ expr: `max by (instance) (pg_wal_size_bytes{${P}})`, legend: '{{instance}}' }]
        }
      ]
    },
    {
      title: 'Is it slow?',
      panels: [
        {
          kind: 'lines', title: 'Transactions', unit: 'ops', size: [8, 8], says: 'Committed, by database.',
          queries: [{ expr: `sum by (datname) (${perSecond(`pg_stat_database_xact_commit{${D}}`)})`, legend: '{{datname}}' }]
        },
        {
          kind: 'lines', title: 'Longest transaction', unit: 's', size: [8, 8],
          says: 'One that stays open for long keeps locks and keeps dead rows from being cleaned up.',
          queries: [{ expr: `max by (instance) (pg_stat_activity_max_tx_duration{${P}})`, legend: '{{instance}}' }]
        },
        {
          kind: 'lines', title: 'Reads from memory', unit: 'percentunit', size: [8, 8], max: 1,
          says: 'The share of blocks found in memory. Well below 99 % for long, memory is short.',
          queries: [{
            expr: `sum by (instance) (${perSecond(`pg_stat_database_blks_hit{${P}}`)})
  / (sum by (instance) (${perSecond(`pg_stat_database_blks_hit{${P}}`)} + ${perSecond(`pg_stat_database_blks_read{${P}}`)}) > 0)`,
            legend: '{{instance}}'
          }]
        },
        {
          kind: 'lines', title: 'Locks', unit: 'short', size: [8, 8], says: 'Held or waited for, by kind.',
          queries: [{ expr: `sum by (mode) (pg_locks_count{${P}})`, legend: '{{mode}}' }]
        },
        {
          kind: 'lines', title: 'Deadlocks in an hour', unit: 'short', decimals: 0, size: [8, 8],
          says: 'Two transactions waited for each other; one was ended.',
          queries: [{ expr: `sum by (datname) (increase(pg_stat_database_deadlocks{${D}}[1h]))`, legend: '{{datname}}' }]
        },
        {
          kind: 'lines', title: 'Written to temporary files', unit: 'Bps', size: [8, 8],
          says: 'Sorts that did not fit into work_mem.',
          queries: [{ expr: `sum by (datname) (${perSecond(`pg_stat_database_temp_bytes{${D}}`)})`, legend: '{{datname}}' }]
        }
      ]
    }
  ]
}
