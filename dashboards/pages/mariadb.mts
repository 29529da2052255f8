import { AWAY_OR_THERE, type Page } from '../panel.mts'
import { orAway, perSecond } from '../promql.mts'

const M = 'job="mysql"'

export const mariadb: Page = {
  uid: 'mariadb',
  title: 'MariaDB',
  says: 'The MariaDB servers outside the cluster, or the one address in front of them.',
  sections: [
    {
      title: 'Is it there?',
      panels: [
        {
          kind: 'states', title: 'Servers', alerts: ['MariadbHostDown'], related: ['MariadbDown'],
          says: 'Whether each server lets the exporter log in.', unit: 'short', size: [8, 7],
          words: AWAY_OR_THERE, queries: [{ expr: orAway('instance', `mysql_up{${M}}`, `up{${M}}`), legend: '{{instance}}' }]
        },
        {
          kind: 'number', title: 'Members of the Galera cluster', related: ['MariadbClusterSmall', 'MariadbNotSynced'],
          says: 'As each member counts them. 0: the server is in none.', unit: 'short', decimals: 0,
          size: [8, 7],
          queries: [{ expr: `max by (instance) (mysql_global_status_wsrep_cluster_size{${M}})`, legend: '{{instance}}' }]
        },
        {
          kind: 'states', title: 'The address that applications use', alerts: ['MariadbDown'],
          says: 'Whether its exporter can log in there.', unit: 'short', size: [8, 7],
          words: AWAY_OR_THERE,
          queries: [{
            expr: orAway('backend', 'probe_success{job="backends", backend="mariadb"}', 'up{job="backends", backend="mariadb"}'),
            legend: '{{backend}}'
          }]
        }
      ]
    },
    {
      title: 'Is it full, is it slow?',
      panels: [
        {
          kind: 'lines', title: 'Connections, of the most', unit: 'percentunit', size: [8, 8], max: 1,
          says: 'At 100 % applications are refused.',
          queries: [{
            expr: `max by (instance) (mysql_global_status_threads_connected{${M}} / mysql_global_variables_max_connections{${M}})`,
            legend: '{{instance}}'
          }]
        },
        {
          kind: 'lines', title: 'Queries', unit: 'ops', size: [8, 8], says: 'In a second.',
          queries: [{ expr: `sum by (instance) (${perSecond(`mysql_global_status_queries{${M}}`)})`, legend: '{{instance}}' }]
        },
        {
          kind: 'lines', title: 'Slow queries', unit: 'ops', size: [8, 8], says: 'In a second, slower than long_query_time.',
          queries: [{
            expr: `sum by (instance) (${perSecond(`mysql_global_status_slow_queries{${M}}`)})`,
            legend: '{{instance}}'
          }]
        },
        {
          kind: 'lines', title: 'Buffer pool, pages', unit: 'short', size: [8, 8], stacked: true,
          says: 'No free pages for long, and reads from disk beside: memory is short.',
          queries: [{ expr: `sum by (state) (mysql_global_status_buffer_pool_pages{${M}})`, legend: '{{state}}' }]
        },
        {
          kind: 'lines', title: 'Connections refused', unit: 'cps', size: [8, 8],
          says: 'Clients that could not log in, in a second.',
          queries: [{
            expr: `sum by (instance) (${perSecond(`mysql_global_status_aborted_connects{${M}}`)})`,
            legend: '{{instance}}'
          }]
        },
        {
          kind: 'lines', title: 'Rows', unit: 'ops', size: [8, 8], says: 'Read, written, updated and deleted in a second.',
          queries: [{
            expr: `sum by (handler) (${perSecond(`mysql_global_status_handlers_total{${M}, handler=~"write|update|delete|read_.+"}`)})`,
            legend: '{{handler}}'
          }]
        }
      ]
    }
  ]
}
