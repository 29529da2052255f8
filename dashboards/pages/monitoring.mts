import { NO_OR_YES, type Page } from '../panel.mts'
import { perSecond, rateBy } from '../promql.mts'

const P = 'job="prometheus"'
const A = 'job="alertmanager"'

export const monitoring: Page = {
  uid: 'monitoring',
  title: 'Monitoring',
  says: 'Whether what watches is well itself: targets, rules, messages, memory and disk of Prometheus.',
  sections: [
    {
      title: 'Does it see everything?',
      panels: [
        {
          kind: 'table', title: 'Targets away', related: ['TargetDown', 'MetricsRefused'], says: 'What Prometheus, or an exporter, should ask and cannot.',
          unit: 'short', size: [12, 8],
          nothing: 'Every target answers', queries: [{ expr: '{__name__=~"up|pg_up|redis_up|mysql_up"} == 0' }],
          columns: { job: { name: 'What' }, node: { name: 'Node' }, instance: { name: 'Host' }, pod: { name: 'Pod' } }
        },
        {
          kind: 'table', title: 'Targets', related: ['TargetsMissing'],
          says: 'How many of each kind, how many samples a scrape of all of them brings, and the slowest.', unit: 'short',
          size: [12, 8],
          queries: [
            { expr: 'count by (job) (up)' }, { expr: 'sum by (job) (up)' },
            { expr: 'sum by (job) (scrape_samples_post_metric_relabeling)' }, { expr: 'max by (job) (scrape_duration_seconds)' }
          ],
          columns: {
            job: { name: 'What' },
            'Value #A': { name: 'Targets' },
            'Value #B': { name: 'Answer' },
            'Value #C': { name: 'Samples' },
            'Value #D': { name: 'Slowest', unit: 's', decimals: 2 }
          }
        }
      ]
    },
    {
      title: 'Does it tell?',
      panels: [
        {
          kind: 'number', title: 'Watchdog fires', related: ['Watchdog'],
          says: 'This alert always fires. Its message is what says from outside that the path works.', unit: 'short',
          size: [4, 8], words: NO_OR_YES, queries: [{ expr: 'max(ALERTS{alertname="Watchdog", alertstate="firing"})' }]
        },
        {
          kind: 'lines', title: 'Messages', unit: 'short', decimals: 1, size: [10, 8],
          says: 'That Alertmanager sent, in five minutes, by kind of receiver.',
          queries: [{
            expr: `sum by (integration) (increase(alertmanager_notifications_total{${A}}[5m]))`,
            legend: '{{integration}}'
          }]
        },
        {
          kind: 'lines', title: 'Messages that failed', unit: 'short', decimals: 1, size: [10, 8],
          related: ['PagesNotDelivered', 'AlertmanagerNotificationsFailed'],
          says: 'The receiver did not take them. Alertmanager tries again; its log has the answer.',
          queries: [{
            expr: `sum by (receiver_name, integration) (increase(alertmanager_notifications_failed_total{${A}}[5m]))`,
            legend: '{{receiver_name}} by {{integration}}'
          }]
        },
        {
          kind: 'number', title: 'Alertmanagers that see each other', alerts: ['AlertmanagerAlone'],
          says: 'With fewer than all of them a message may come twice.', unit: 'short', size: [6, 8],
          queries: [{ expr: `max by (pod) (alertmanager_cluster_members{${A}})`, legend: '{{pod}}' }]
        },
        {
          kind: 'lines', title: 'From Prometheus to Alertmanager', unit: 'ops', size: [6, 8], related: ['PrometheusNotSending'],
          says: 'Alerts in a second, and those that did not arrive.',
          queries: [
            { expr: `sum by (pod) (${perSecond(`prometheus_notifications_sent_total{${P}}`)})`, legend: '{{pod}} sent' },
            {
              expr: `${rateBy('pod', `prometheus_notifications_errors_total{${P}}`)}
  + ${rateBy('pod', `prometheus_notifications_dropped_total{${P}}`)}`,
              legend: '{{pod}} lost'
            }
          ]
        },
        {
          kind: 'states', title: 'Configuration and Grafana', unit: 'short', size: [6, 8],
          alerts: ['MonitoringConfigBad', 'GrafanaDown'],
          says: 'Whether each has accepted its last configuration, and whether Grafana answers through the load balancers.',
          words: NO_OR_YES,
          queries: [
            { expr: `max by (pod) (prometheus_config_last_reload_successful{${P}})`, legend: '{{pod}}' },
            { expr: `max by (pod) (alertmanager_config_last_reload_successful{${A}})`, legend: '{{pod}}' },
            { expr: 'max by (app) (probe_success{job="apps", app="grafana"})', legend: '{{app}}' }
          ]
        },
        {
          kind: 'lines', title: 'Rules that failed', unit: 'short', decimals: 0, size: [6, 8], alerts: ['PrometheusRuleFailures'],
          says: 'In five minutes. An alert whose rule fails never fires.',
          queries: [{ expr: `sum by (pod) (increase(prometheus_rule_evaluation_failures_total{${P}}[5m]))`, legend: '{{pod}}' }]
        }
      ]
    },
    {
      title: 'What does it need?',
      panels: [
        {
          kind: 'lines', title: 'Memory', unit: 'bytes', size: [8, 8],
          says: 'Of each Prometheus. It follows the number of series.',
          queries: [{ expr: `max by (pod) (process_resident_memory_bytes{${P}})`, legend: '{{pod}}' }]
        },
        {
          kind: 'lines', title: 'Series', unit: 'short', size: [8, 8],
          says: 'That are written to now. About 2 KiB of memory each.',
          queries: [{ expr: `max by (pod) (prometheus_tsdb_head_series{${P}})`, legend: '{{pod}}' }]
        },
        {
          kind: 'lines', title: 'Samples', unit: 'wps', size: [8, 8], says: 'Stored in a second.',
          queries: [{ expr: rateBy('pod', `prometheus_tsdb_head_samples_appended_total{${P}}`), legend: '{{pod}}' }]
        },
        {
          kind: 'lines', title: 'Disk', unit: 'bytes', size: [8, 8], related: ['PrometheusStorageFailing'],
          says: 'Blocks, and the most that monitoring.prometheus.size allows them.',
          queries: [
            { expr: `max by (pod) (prometheus_tsdb_storage_blocks_bytes{${P}})`, legend: '{{pod}} blocks' },
            { expr: `max by (pod) (prometheus_tsdb_retention_limit_bytes{${P}})`, legend: '{{pod}} most' }
          ]
        },
        {
          kind: 'lines', title: 'Time that all rules take', unit: 's', size: [8, 8],
          says: 'They are taken every 15 s, so this must stay far below.',
          queries: [{ expr: `sum by (pod) (prometheus_rule_group_last_duration_seconds{${P}})`, legend: '{{pod}}' }]
        },
        {
          kind: 'lines', title: 'The five slowest scrapes', unit: 's', size: [8, 8],
          says: 'After ten seconds a scrape is given up, and its target counts as away.',
          queries: [{ expr: 'topk(5, max by (job) (scrape_duration_seconds))', legend: '{{job}}' }]
        }
      ]
    }
  ]
}
