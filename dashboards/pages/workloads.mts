import type { Page } from '../panel.mts'
import { K, perSecond, unready } from '../promql.mts'

const NS = 'namespace=~"$namespace"'
const KN = `${K}, ${NS}`
// Without the pod's own cgroup, which has no container, and without pause.
const C = `job="cadvisor", ${NS}, container!="", container!="POD"`

const short = (kind: string, wanted: string, there: string): string =>
  `label_replace(kube_${kind}_${wanted}{${KN}} - kube_${kind}_${there}, "workload", "$1", "${kind}", "(.+)")`

// What each asks for and does not have.
const missing = `max by (namespace, workload) (
  ${short('deployment', 'spec_replicas', 'status_replicas_available')}
  or ${short('statefulset', 'replicas', 'status_replicas_ready')}
  or ${short('daemonset', 'status_desired_number_scheduled', 'status_number_available')}
)`

export const workloads: Page = {
  uid: 'workloads',
  title: 'Workloads',
  says: 'Everything that runs as pods: whether it is complete, whether it restarts, and what it uses.',
  variables: ['namespace'],
  sections: [
    {
      title: 'Is everything there?',
      panels: [
        {
          kind: 'number', title: 'Pods not ready', limits: [{ fires: 'above', at: 1, colour: 'orange' }],
          says: 'Pods that should serve and do not. Those of ended Jobs do not count.',
          unit: 'short', size: [4, 4], queries: [{ expr: unready(`, ${NS}`) }]
        },
        {
          kind: 'number', title: 'Pods that no node takes', says: 'No node has the room that they ask for, or none fits.',
          unit: 'short', size: [4, 4],
          alerts: ['PodUnschedulable'],
          queries: [{ expr: `count(kube_pod_status_unschedulable{${KN}} == 1) or sum(0 * (up{${K}} == 1))` }]
        },
        {
          kind: 'number', title: 'Restarts in an hour', says: 'Containers that ended and were started again.',
          unit: 'short', decimals: 0, size: [4, 4],
          queries: [{ expr: `sum(increase(kube_pod_container_status_restarts_total{${KN}}[1h]))` }]
        },
        {
          kind: 'number', title: 'Pods', says: 'All that are running.', unit: 'short', size: [4, 4],
          queries: [{ expr: `sum(kube_pod_status_phase{${KN}, phase="Running"})` }]
        },
        {
          kind: 'number', title: 'Pods missing', unit: 'short', size: [4, 4],
          limits: [{ fires: 'above', at: 1, colour: 'orange' }],
          says: 'Of Deployments, StatefulSets and DaemonSets together.',
          queries: [{ expr: `sum(${missing})` }]
        },
        {
          kind: 'number', title: 'Jobs failed', says: 'Jobs that gave up and are still in the API.', unit: 'short', size: [4, 4],
          alerts: ['JobFailed'],
          queries: [{ expr: `count(kube_job_failed{${KN}, condition="true"} == 1) or sum(0 * (up{${K}} == 1))` }]
        },
        {
          kind: 'table', title: 'Short of pods',
          says: 'Deployments, StatefulSets and DaemonSets with fewer pods than they ask for.', unit: 'short', size: [12, 7],
          related: ['WorkloadDown', 'WorkloadShort', 'ClusterDnsDown'], nothing: 'Everything has its pods',
          queries: [{ expr: `sort_desc(${missing} > 0)` }],
          columns: { namespace: { name: 'Namespace' }, workload: { name: 'Name' }, Value: { name: 'Missing', width: 120 } }
        },
        {
          kind: 'table', title: 'Containers that do not start', says: 'With the reason that the kubelet gives.', unit: 'short',
          size: [12, 7],
          related: ['PodNotStarting'], nothing: 'Every container has started',
          queries: [{ expr: `max by (namespace, pod, container, reason) (kube_pod_container_status_waiting_reason{${KN}}) == 1` }],
          columns: { namespace: { name: 'Namespace' }, pod: { name: 'Pod' }, container: { name: 'Container' }, reason: { name: 'Why' } }
        }
      ]
    },
    {
      title: 'What restarts, and why?',
      panels: [
        {
          kind: 'lines', title: 'Restarts in half an hour: the ten containers with the most', unit: 'short', decimals: 0,
          size: [12, 8],
          alerts: ['PodCrashLooping'],
          says: 'A container that ends again and again waits longer each time, up to five minutes.',
          queries: [{
            expr: `topk(10, sum by (namespace, pod, container) (increase(kube_pod_container_status_restarts_total{${KN}}[30m])))`,
            legend: '{{namespace}}/{{pod}} {{container}}'
          }]
        },
        {
          kind: 'table', title: 'Ended for lack of memory',
          says: 'The last end of these containers: they used more than their limit.',
          unit: 'short', size: [12, 8], nothing: 'No container ended for lack of memory',
          queries: [{ expr: `kube_pod_container_status_last_terminated_reason{${KN}, reason="OOMKilled"} == 1` }],
          columns: { namespace: { name: 'Namespace' }, pod: { name: 'Pod' }, container: { name: 'Container' } }
        }
      ]
    },
    {
      title: 'What do they use?',
      panels: [
        {
          kind: 'lines', title: 'CPUs, by namespace', unit: 'short', decimals: 2, size: [12, 8], stacked: true,
          says: 'CPUs that are used in each namespace.',
          queries: [{
            expr: `sum by (namespace) (${perSecond(`container_cpu_usage_seconds_total{${C}}`)})`,
            legend: '{{namespace}}'
          }]
        },
        {
          kind: 'lines', title: 'Memory, by namespace', unit: 'bytes', size: [12, 8], stacked: true,
          says: 'Memory that cannot be given back, in each namespace.',
          queries: [{ expr: `sum by (namespace) (container_memory_working_set_bytes{${C}})`, legend: '{{namespace}}' }]
        },
        {
          kind: 'lines', title: 'CPUs: the ten busiest pods', unit: 'short', decimals: 2, size: [12, 8],
          says: 'There is no limit of CPUs, only of memory.',
          queries: [{
            expr: `topk(10, sum by (namespace, pod) (${perSecond(`container_cpu_usage_seconds_total{${C}}`)}))`,
            legend: '{{namespace}}/{{pod}}'
          }]
        },
        {
          kind: 'lines', title: 'Memory, of the limit: the ten fullest containers', unit: 'percentunit', size: [12, 8], max: 1,
          says: 'At 100 % the container is ended.',
          queries: [{
            expr: `topk(10, max by (namespace, pod, container) (container_memory_working_set_bytes{${C}})
  / on (namespace, pod, container) max by (namespace, pod, container) (kube_pod_container_resource_limits{${KN}, resource="memory"}))`,
            legend: '{{namespace}}/{{pod}} {{container}}'
          }]
        }
      ]
    },
    {
      title: 'Does it scale?',
      panels: [
        {
          kind: 'lines', title: 'Autoscalers, of their most replicas', unit: 'percentunit', size: [12, 8], max: 1,
          says: 'At 100 % for long, `most` in the settings is too small for the load.', nothing: 'No application here is scaled',
          queries: [{
            expr: `kube_horizontalpodautoscaler_status_current_replicas{${KN}} / kube_horizontalpodautoscaler_spec_max_replicas{${KN}}`,
            legend: '{{namespace}}/{{horizontalpodautoscaler}}'
          }]
        },
        {
          kind: 'lines', title: 'Quotas, in use', unit: 'percentunit', size: [12, 8], max: 1,
          says: 'What a tenant has taken of its quota. At 100 % no more pods of the tenant are made.',
          nothing: 'No namespace here has a quota',
          queries: [{
            expr: `kube_resourcequota{${KN}, type="used"} / ignoring (type) (kube_resourcequota{${KN}, type="hard"} > 0)`,
            legend: '{{namespace}} {{resource}}'
          }]
        }
      ]
    }
  ]
}
