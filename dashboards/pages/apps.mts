import { FAILS_OR_ANSWERS, NO_OR_YES, type Page } from '../panel.mts'
import { K, perSecond, quantile } from '../promql.mts'

// The namespace of an application is keybuzz-<application>; its probes have the label app.
const OURS = 'namespace=~"keybuzz-.+"'
const byApp = (of: string, expr: string, label = 'namespace'): string =>
  `${of} by (app) (label_replace(${expr}, "app", "$1", "${label}", "keybuzz-(.+)"))`

const LATENCY = 'nginx_ingress_controller_upstream_server_response_latency_ms'
const I = 'job="ingress", resource_namespace=~"keybuzz-.+"'
const byNamespace = (of: string): string => `sum by (resource_namespace) (${perSecond(of)})`

const requests = byApp('sum', byNamespace(`${LATENCY}_count{${I}}`), 'resource_namespace')
const errors = byApp('sum', byNamespace(`${LATENCY}_count{${I}, code=~"5.."}`), 'resource_namespace')
const errorShare = `(${errors} or 0 * ${requests}) / (${requests} > 0)`
// Without websockets (101): they last as long as a page is open.
const slow = byApp('max', `${quantile(0.95, 'resource_namespace', `${LATENCY}_bucket{${I}, code!="101"}`)} / 1000`, 'resource_namespace')
const ready = byApp('sum', `kube_deployment_status_replicas_available{${K}, ${OURS}}`)
const wanted = byApp('sum', `kube_deployment_spec_replicas{${K}, ${OURS}}`)
const restarts = byApp('sum', `increase(kube_pod_container_status_restarts_total{${K}, ${OURS}}[1h])`)
const cpus = byApp('sum', perSecond(`container_cpu_usage_seconds_total{job="cadvisor", ${OURS}, container!=""}`))
const memory = byApp('sum', `container_memory_working_set_bytes{job="cadvisor", ${OURS}, container!=""}`)

export const apps: Page = {
  uid: 'apps',
  title: 'Applications',
  says: 'One line for each application: whether it answers, has its pods, restarts, fails or gets slow.',
  sections: [
    {
      title: 'One line each',
      panels: [
        {
          kind: 'table', title: 'Applications', unit: 'short', size: [24, 8],
          says: 'Answers: through every load balancer. Requests, errors and times are as nginx sees the answers of the pods.',
          queries: [
            { expr: 'min by (app) (probe_success{job="apps"})' }, { expr: ready }, { expr: wanted }, { expr: restarts },
            { expr: requests }, { expr: errorShare }, { expr: slow }, { expr: cpus }, { expr: memory }
          ],
          columns: {
            app: { name: 'Application', to: '/d/workloads?var-namespace=keybuzz-${__value.text}' },
            'Value #A': { name: 'Answers', words: NO_OR_YES },
            'Value #B': { name: 'Replicas there' },
            'Value #C': { name: 'Replicas wanted' },
            'Value #D': { name: 'Restarts in an hour', decimals: 0 },
            'Value #E': { name: 'Requests', unit: 'reqps', decimals: 1 },
            'Value #F': { name: 'Errors (5xx)', unit: 'percentunit', decimals: 2 },
            'Value #G': { name: '19 of 20 are faster than', unit: 's', decimals: 2 },
            'Value #H': { name: 'CPUs', decimals: 2 },
            'Value #I': { name: 'Memory', unit: 'bytes' }
          }
        }
      ]
    },
    {
      title: 'Do they answer?',
      panels: [
        {
          kind: 'states', title: 'Through each load balancer', alerts: ['AppPartlyDown'], related: ['AppDown'],
          says: 'Whether the host of each application answers 200, asked from inside.', unit: 'short',
          size: [12, 9], words: FAILS_OR_ANSWERS,
          queries: [{ expr: 'min by (app, balancer) (probe_success{job="apps"})', legend: '{{app}} through {{balancer}}' }]
        },
        {
          kind: 'lines', title: 'Time of the probe', unit: 's', size: [12, 9],
          says: 'The whole of the probe, through the slower load balancer.',
          queries: [{ expr: 'max by (app) (probe_duration_seconds{job="apps"})', legend: '{{app}}' }]
        }
      ]
    },
    {
      title: 'Do they fail, restart, grow?',
      panels: [
        {
          kind: 'lines', title: 'Errors', unit: 'percentunit', size: [8, 8], alerts: ['AppErrors', 'AppSomeErrors'],
          says: 'The share of answers 5xx.', queries: [{ expr: errorShare, legend: '{{app}}' }]
        },
        {
          kind: 'lines', title: 'Times, 19 of 20', unit: 's', size: [8, 8], alerts: ['AppSlow'],
          says: 'Until the end of the answer of a pod. Workflows of n8n and queries of Superset take what they take.',
          queries: [{ expr: slow, legend: '{{app}}' }]
        },
        {
          kind: 'lines', title: 'Replicas missing', unit: 'short', size: [8, 8], related: ['SidekiqDown'],
          says: 'Wanted and not available.',
          queries: [{ expr: `${wanted} - ${ready}`, legend: '{{app}}' }]
        },
        {
          kind: 'lines', title: 'Requests', unit: 'reqps', size: [8, 8], says: 'Answers of pods.',
          queries: [{ expr: requests, legend: '{{app}}' }]
        },
        {
          kind: 'lines', title: 'CPUs', unit: 'short', decimals: 2, size: [8, 8], says: 'Used by all pods.',
          queries: [{ expr: cpus, legend: '{{app}}' }]
        },
        {
          kind: 'lines', title: 'Memory', unit: 'bytes', size: [8, 8], says: 'That cannot be given back, of all pods.',
          queries: [{ expr: memory, legend: '{{app}}' }]
        }
      ]
    }
  ]
}
