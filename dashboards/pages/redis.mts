import { AWAY_OR_THERE, type Page } from '../panel.mts'
import { orAway, perSecond } from '../promql.mts'

const R = 'job="redis"'

export const redis: Page = {
  uid: 'redis',
  title: 'Redis',
  says: 'The Redis servers outside the cluster. n8n\'s queue lives here: nothing may be evicted.',
  sections: [
    {
      title: 'Is it there?',
      panels: [
        {
          kind: 'states', title: 'Servers', related: ['RedisDown', 'RedisHostDown', 'MetricsRefused'],
          says: 'Whether each server answers the exporter.', unit: 'short', size: [8, 7],
          words: AWAY_OR_THERE, queries: [{ expr: orAway('instance', `redis_up{${R}}`, `up{${R}}`), legend: '{{instance}}' }]
        },
        {
          kind: 'states', title: 'Which is the master', unit: 'short', size: [8, 7], alerts: ['RedisReplicaBroken'],
          says: 'Exactly one is. Sentinel decides which. The others must have a link to it.',
          words: [[0, 'replica without link', 'red'], [1, 'replica', 'text'], [2, 'master', 'blue']],
          queries: [{
            expr: `max by (instance) (redis_master_link_up{${R}}) or 2 * max by (instance) (redis_instance_info{${R}, exported_role="master"})`,
            legend: '{{instance}}'
          }]
        },
        {
          kind: 'states', title: 'The address that applications use', alerts: ['RedisDown'],
          says: 'Whether a pod can connect to it: HAProxy in front of the master.', unit: 'short',
          size: [8, 7], words: AWAY_OR_THERE,
          queries: [{ expr: 'min by (backend) (probe_success{job="backends", backend="redis"})', legend: '{{backend}}' }]
        }
      ]
    },
    {
      title: 'Is it full?',
      panels: [
        {
          kind: 'lines', title: 'Memory', unit: 'bytes', size: [8, 8], related: ['RedisMemoryHigh'],
          says: 'At maxmemory, with noeviction, every write is refused. maxmemory 0: there is no limit.',
          queries: [
            { expr: `max by (instance) (redis_memory_used_bytes{${R}})`, legend: '{{instance}} used' },
            { expr: `max by (instance) (redis_memory_max_bytes{${R}})`, legend: '{{instance}} maxmemory' }
          ]
        },
        {
          kind: 'lines', title: 'Keys evicted in 15 minutes', unit: 'short', decimals: 0, size: [8, 8],
          alerts: ['RedisEvicts'], says: 'It must be 0: an evicted job of n8n is lost. maxmemory-policy must be noeviction.',
          queries: [{ expr: `sum by (instance) (increase(redis_evicted_keys_total{${R}}[15m]))`, legend: '{{instance}}' }]
        },
        {
          kind: 'lines', title: 'Clients, of the most', unit: 'percentunit', size: [8, 8], max: 1,
          says: 'At 100 % new ones are refused.',
          queries: [{
            expr: `max by (instance) (redis_connected_clients{${R}}) / max by (instance) (redis_config_maxclients{${R}} or redis_max_clients{${R}})`,
            legend: '{{instance}}'
          }]
        }
      ]
    },
    {
      title: 'Is its data safe?',
      panels: [
        {
          kind: 'states', title: 'Last save to disk', alerts: ['RedisNotSaving'],
          says: 'Whether the last snapshot in the background succeeded.', unit: 'short', size: [8, 8],
          words: [[0, 'failed', 'red'], [1, 'succeeded', 'green']],
          queries: [{ expr: `min by (instance) (redis_rdb_last_bgsave_status{${R}})`, legend: '{{instance}}' }]
        },
        {
          kind: 'lines', title: 'Replicas of the master', unit: 'short', decimals: 0, size: [8, 8],
          says: 'Without one a failover has nowhere to go.',
          queries: [{ expr: `max by (instance) (redis_connected_slaves{${R}})`, legend: '{{instance}}' }]
        },
        {
          kind: 'lines', title: 'Changes since the last save', unit: 'short', size: [8, 8],
          says: 'What a lost server without replica would lose.',
          queries: [{ expr: `max by (instance) (redis_rdb_changes_since_last_save{${R}})`, legend: '{{instance}}' }]
        }
      ]
    },
    {
      title: 'What does it do?',
      panels: [
        {
          kind: 'lines', title: 'Commands', unit: 'ops', size: [8, 8], says: 'In a second.',
          queries: [{ expr: `sum by (instance) (${perSecond(`redis_commands_processed_total{${R}}`)})`, legend: '{{instance}}' }]
        },
        {
          kind: 'lines', title: 'Keys, by database', unit: 'short', size: [8, 8],
          says: 'Each application has a database of its own: see the settings.',
          queries: [{ expr: `max by (db) (redis_db_keys{${R}}) > 0`, legend: '{{db}}' }]
        },
        {
          kind: 'lines', title: 'Clients that wait', unit: 'short', size: [8, 8],
          says: 'Workers that wait for a job in a queue: for them waiting is normal. None at all means no workers.',
          queries: [{ expr: `max by (instance) (redis_blocked_clients{${R}})`, legend: '{{instance}}' }]
        }
      ]
    }
  ]
}
