import { AWAY_OR_THERE, type Page } from '../panel.mts'
import { perSecond } from '../promql.mts'

const Q = 'job="rabbitmq"'

export const rabbitmq: Page = {
  uid: 'rabbitmq',
  title: 'RabbitMQ',
  says: 'The RabbitMQ servers outside the cluster.',
  sections: [
    {
      title: 'Is it there?',
      panels: [
        {
          kind: 'states', title: 'Servers', alerts: ['RabbitmqHostDown'], related: ['RabbitmqDown', 'MetricsRefused'],
          says: 'Whether each server answers Prometheus.', unit: 'short', size: [8, 7],
          words: AWAY_OR_THERE, queries: [{ expr: `min by (instance) (up{${Q}})`, legend: '{{instance}}' }]
        },
        {
          kind: 'states', title: 'Alarms', alerts: ['RabbitmqAlarm'],
          says: 'With an alarm RabbitMQ takes no more messages from anybody: memory, disk or files are short.', unit: 'short',
          size: [8, 7],
          words: [[0, 'none', 'green'], [1, 'alarm', 'red']],
          queries: [
            { expr: `max by (instance) (rabbitmq_alarms_memory_used_watermark{${Q}})`, legend: '{{instance}} memory' },
            { expr: `max by (instance) (rabbitmq_alarms_free_disk_space_watermark{${Q}})`, legend: '{{instance}} disk' },
            { expr: `max by (instance) (rabbitmq_alarms_file_descriptor_limit{${Q}})`, legend: '{{instance}} files' }
          ]
        },
        {
          kind: 'states', title: 'The address that applications use', alerts: ['RabbitmqDown'],
          says: 'Whether a pod can connect to it.', unit: 'short', size: [8, 7],
          words: AWAY_OR_THERE,
          queries: [{ expr: 'min by (backend) (probe_success{job="backends", backend="rabbitmq"})', legend: '{{backend}}' }]
        }
      ]
    },
    {
      title: 'Do messages move?',
      panels: [
        {
          kind: 'lines', title: 'Messages that wait', unit: 'short', size: [8, 8], alerts: ['RabbitmqQueuesLong'],
          says: 'In all queues. What only grows has no consumer, or too few.',
          queries: [
            { expr: `sum by (instance) (rabbitmq_queue_messages_ready{${Q}})`, legend: '{{instance}} ready' },
            { expr: `sum by (instance) (rabbitmq_queue_messages_unacked{${Q}})`, legend: '{{instance}} delivered, not confirmed' }
          ]
        },
        {
          kind: 'lines', title: 'Messages', unit: 'mps', size: [8, 8], says: 'Published and delivered in a second.',
          queries: [
            {
              expr: `sum by (instance) (${perSecond(`rabbitmq_global_messages_received_total{${Q}}`)})`,
              legend: '{{instance}} published'
            },
            {
              expr: `sum by (instance) (${perSecond(`rabbitmq_global_messages_delivered_total{${Q}}`)})`,
              legend: '{{instance}} delivered'
            }
          ]
        },
        {
          kind: 'lines', title: 'Connections and consumers', unit: 'short', size: [8, 8], related: ['RabbitmqNoConsumers'],
          says: 'Consumers at 0 while messages wait: the workers are gone.',
          queries: [
            { expr: `sum by (instance) (rabbitmq_connections{${Q}})`, legend: '{{instance}} connections' },
            { expr: `sum by (instance) (rabbitmq_consumers{${Q}})`, legend: '{{instance}} consumers' }
          ]
        }
      ]
    },
    {
      title: 'Is it full?',
      panels: [
        {
          kind: 'lines', title: 'Memory, of its limit', unit: 'percentunit', size: [8, 8], max: 1,
          says: 'At 100 % the alarm stops all who publish.',
          queries: [{
            expr: `max by (instance) (rabbitmq_process_resident_memory_bytes{${Q}} / rabbitmq_resident_memory_limit_bytes{${Q}})`,
            legend: '{{instance}}'
          }]
        },
        {
          kind: 'lines', title: 'Disk that is free', unit: 'bytes', size: [8, 8],
          says: 'At the limit the alarm stops all who publish.',
          queries: [
            { expr: `min by (instance) (rabbitmq_disk_space_available_bytes{${Q}})`, legend: '{{instance}} free' },
            { expr: `max by (instance) (rabbitmq_disk_space_available_limit_bytes{${Q}})`, legend: '{{instance}} limit' }
          ]
        },
        {
          kind: 'lines', title: 'Open files, of the most', unit: 'percentunit', size: [8, 8], max: 1,
          says: 'Each connection and each queue needs some.',
          queries: [{
            expr: `max by (instance) (rabbitmq_process_open_fds{${Q}} / rabbitmq_process_max_fds{${Q}})`,
            legend: '{{instance}}'
          }]
        }
      ]
    }
  ]
}
