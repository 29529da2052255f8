import { AWAY_OR_THERE, NO_OR_YES, type Page } from '../panel.mts'
import { perSecond, rateBy } from '../promql.mts'

const N = 'job="n8n"'
const MAIN = `${N}, process="main"`
const C = 'job="cadvisor", namespace="keybuzz-n8n", container!="", container!="POD"'

export const n8n: Page = {
  uid: 'n8n',
  title: 'n8n',
  says: 'The queue of n8n: webhooks and schedules put executions in, workers take them out.',
  sections: [
    {
      title: 'Does the queue move?',
      panels: [
        {
          kind: 'lines', title: 'Executions', unit: 'short', size: [12, 9],
          alerts: ['N8nQueueLong'], related: ['N8nQueueStuck'],
          says: 'Waiting with nothing at work for minutes: the workers have stopped taking jobs. They may look healthy ' +
            '(n8n #37581).',
          queries: [
            { expr: `max(n8n_scaling_mode_queue_jobs_waiting{${MAIN}})`, legend: 'waiting' },
            { expr: `max(n8n_scaling_mode_queue_jobs_active{${MAIN}})`, legend: 'at work' }
          ]
        },
        {
          kind: 'lines', title: 'Executions that ended', unit: 'ops', size: [12, 9],
           says: 'In a second. Failed: the workflow failed, or its worker was lost. Main counts from its own start.',
          queries: [
            { expr: `sum(${perSecond(`n8n_scaling_mode_queue_jobs_completed{${MAIN}}`)})`, legend: 'completed' },
            { expr: `sum(${perSecond(`n8n_scaling_mode_queue_jobs_failed{${MAIN}}`)})`, legend: 'failed' }
          ]
        }
      ]
    },
    {
      title: 'Is everybody there?',
      panels: [
        {
          kind: 'states', title: 'Processes', related: ['N8nMainDown', 'N8nWorkersDown', 'N8nWebhooksDown'],
          says: 'Main has the editor and the schedules, webhook takes webhooks, workers run the workflows.', unit: 'short',
          size: [12, 8], words: AWAY_OR_THERE,
          queries: [{ expr: `min by (process, pod) (up{${N}})`, legend: '{{process}} {{pod}}' }]
        },
        {
          kind: 'number', title: 'Main leads', says: 'Only a leader runs schedules and triggers.', unit: 'short', size: [4, 8],
          words: NO_OR_YES,
          queries: [{ expr: `max(n8n_instance_role_leader{${MAIN}})` }]
        },
        {
          kind: 'lines', title: 'Oldest schedule that is due', unit: 's', size: [8, 8],
          says: 'Schedules are run late while main moves to another node; after 900 s a run is skipped.',
          queries: [{ expr: `max(n8n_scheduler_oldest_pending_age_seconds{${MAIN}})`, legend: 'late by' }]
        }
      ]
    },
    {
      title: 'Is work lost?',
      panels: [
        {
          kind: 'lines', title: 'Executions lost with their worker, in half an hour', unit: 'short', decimals: 0, size: [12, 8],
          alerts: ['N8nJobsStalled'], says: 'n8n runs none of them again. Their workflows must bear that.',
          nothing: 'None was ever lost',
          queries: [{ measuredBy: 'N8nJobsStalled', legend: 'lost' }]
        },
        {
          kind: 'lines', title: 'Code nodes without an answer of their runner, in 10 minutes', unit: 'short', decimals: 0,
          size: [12, 8],
          alerts: ['N8nRunnerTimeouts'], says: 'A runner that hangs looks healthy (n8n #29372).', nothing: 'No Code node has run',
          queries: [{ measuredBy: 'N8nRunnerTimeouts', legend: '{{pod}}' }]
        }
      ]
    },
    {
      title: 'What does it need?',
      panels: [
        {
          kind: 'lines', title: 'Memory', unit: 'bytes', size: [8, 8],
          says: 'Of each container. At most_memory of the settings it is ended.',
          queries: [{
            expr: `max by (pod, container) (container_memory_working_set_bytes{${C}})`,
            legend: '{{pod}} {{container}}'
          }]
        },
        {
          kind: 'lines', title: 'CPUs', unit: 'short', decimals: 2, size: [8, 8],
          says: 'One process of n8n can use little more than one.',
          queries: [{
            expr: rateBy('pod, container', `container_cpu_usage_seconds_total{${C}}`),
            legend: '{{pod}} {{container}}'
          }]
        },
        {
          kind: 'lines', title: 'Event loop waits, 99 of 100', unit: 's', size: [8, 8],
          says: 'How long a process does nothing else, because one step takes long. Above a second, probes fail.',
          queries: [{ expr: `max by (process, pod) (n8n_nodejs_eventloop_lag_p99_seconds{${N}})`, legend: '{{process}} {{pod}}' }]
        }
      ]
    }
  ]
}
