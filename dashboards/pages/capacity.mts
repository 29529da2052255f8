import type { Page, Panel } from '../panel.mts'
import { asked, K, offered, offeredAfterLoss, podsOnWorkers } from '../promql.mts'

const WORKERS = `unless on (node) kube_node_role{${K}, role="control-plane"}`
const GIB = 2 ** 30

const against = (title: string, unit: string, queries: Panel['queries'], says: string): Panel => ({
  kind: 'lines', title, unit, size: [8, 10], says, queries
})

const perNode = (resource: string): string =>
  `sum by (node) (kube_pod_container_resource_requests{${K}, resource="${resource}"}
  * on (namespace, pod) group_left () (sum by (namespace, pod) (kube_pod_status_phase{${K}, phase=~"Pending|Running"}) == 1))
  / sum by (node) (kube_node_status_allocatable{${K}, resource="${resource}"})`

const usedCpus = `sum(rate(container_cpu_usage_seconds_total{job="cadvisor", container!=""}[5m]) ${WORKERS})`
const usedMemory = `sum(container_memory_working_set_bytes{job="cadvisor", container!=""} ${WORKERS})`

export const capacity: Page = {
  uid: 'capacity',
  title: 'Capacity',
  says: 'What the workers offer, promise and use, against the targets under `capacity` in the settings.',
  sections: [
    {
      title: 'Against the targets of the settings',
      panels: [
        against('Pods', 'short', [
          { expr: offeredAfterLoss('pods'), legend: 'room when workers are lost' },
          { expr: 'max(keybuzz_capacity_pods)', legend: 'target' },
          { expr: podsOnWorkers, legend: 'there now' }
        ], 'The room must stay above the target, and what is there now below the room. Otherwise add a worker.'),
        against('CPUs', 'short', [
          { expr: offeredAfterLoss('cpu'), legend: 'room when workers are lost' },
          { expr: 'max(keybuzz_capacity_cpus)', legend: 'target' },
          { expr: asked('requests', 'cpu'), legend: 'promised (requests)' },
          { expr: usedCpus, legend: 'used' }
        ], 'What is promised must fit into the room: else the pods of a lost worker find no place.'),
        against('Memory', 'bytes', [
          { expr: offeredAfterLoss('memory'), legend: 'room when workers are lost' },
          { expr: `max(keybuzz_capacity_memory) * ${GIB}`, legend: 'target' },
          { expr: asked('requests', 'memory'), legend: 'promised (requests)' },
          { expr: asked('limits', 'memory'), legend: 'allowed (limits)' },
          { expr: usedMemory, legend: 'used' }
        ], 'What is allowed may be more than what is there: pods rarely need their most at the same time.')
      ]
    },
    {
      title: 'Is there room for the pods of a lost worker?',
      panels: [
        {
          kind: 'lines', title: 'Promised, of what remains without the largest worker', unit: 'percentunit', size: [12, 8],
          alerts: ['ClusterNoRoom'],
          says: 'Nodes that take no ordinary pods, such as servers and the heavy pool, are left out. Above 100 % pods ' +
            'find no place.',
          queries: [{ measuredBy: 'ClusterNoRoom', legend: '{{resource}}' }]
        },
        {
          kind: 'lines', title: 'Autoscalers, of their most pods', unit: 'percentunit', size: [12, 8], max: 1,
          related: ['AutoscalerAtLimit'],
          says: 'At 100 % for long, `most` in the settings is too small for the load.', nothing: 'No application is scaled',
          queries: [{
            expr: `max by (namespace, horizontalpodautoscaler) (kube_horizontalpodautoscaler_status_current_replicas{${K}}
  / kube_horizontalpodautoscaler_spec_max_replicas{${K}})`,
            legend: '{{namespace}}/{{horizontalpodautoscaler}}'
          }]
        }
      ]
    },
    {
      title: 'Node by node',
      panels: [
        {
          kind: 'bars', title: 'CPUs promised', unit: 'percentunit', size: [8, 9], max: 1,
          says: 'Requests of the pods on each node, of what it offers.',
          to: '/d/nodes?var-node=${__field.labels.node}', queries: [{ expr: `sort_desc(${perNode('cpu')})`, legend: '{{node}}' }]
        },
        {
          kind: 'bars', title: 'Memory promised', unit: 'percentunit', size: [8, 9], max: 1,
          says: 'Requests of the pods on each node, of what it offers.',
          to: '/d/nodes?var-node=${__field.labels.node}',
          queries: [{ expr: `sort_desc(${perNode('memory')})`, legend: '{{node}}' }]
        },
        {
          kind: 'bars', title: 'Places for pods taken', unit: 'percentunit', size: [8, 9], max: 1,
          says: 'Pods on each node, of k3s.max_pods.',
          to: '/d/nodes?var-node=${__field.labels.node}',
          queries: [{
            expr: `sort_desc(count by (node) (kube_pod_info{${K}}) / sum by (node) (kube_node_status_allocatable{${K}, resource="pods"}))`,
            legend: '{{node}}'
          }]
        }
      ]
    },
    {
      title: 'Who has it',
      panels: [
        {
          kind: 'table', title: 'Namespaces', unit: 'short', size: [24, 10],
          says: 'Promised, allowed and used in each namespace.',
          queries: [
            { expr: `count by (namespace) (kube_pod_info{${K}})` },
            { expr: `sum by (namespace) (kube_pod_container_resource_requests{${K}, resource="cpu"})` },
            { expr: 'sum by (namespace) (rate(container_cpu_usage_seconds_total{job="cadvisor", container!=""}[5m]))' },
            { expr: `sum by (namespace) (kube_pod_container_resource_requests{${K}, resource="memory"})` },
            { expr: `sum by (namespace) (kube_pod_container_resource_limits{${K}, resource="memory"})` },
            { expr: 'sum by (namespace) (container_memory_working_set_bytes{job="cadvisor", container!=""})' }
          ],
          columns: {
            namespace: { name: 'Namespace', to: '/d/workloads?var-namespace=${__value.text}' },
            'Value #A': { name: 'Pods' },
            'Value #B': { name: 'CPUs promised', decimals: 2 },
            'Value #C': { name: 'CPUs used', decimals: 2 },
            'Value #D': { name: 'Memory promised', unit: 'bytes' },
            'Value #E': { name: 'Memory allowed', unit: 'bytes' },
            'Value #F': { name: 'Memory used', unit: 'bytes' }
          }
        }
      ]
    },
    {
      title: 'All workers',
      panels: [
        {
          kind: 'lines', title: 'Growth', unit: 'percentunit', size: [24, 8],
          says: 'Promised, of everything that the workers offer. Look at 30 days.',
          queries: [
            { expr: `${asked('requests', 'cpu')} / ${offered('cpu')}`, legend: 'CPUs' },
            { expr: `${asked('requests', 'memory')} / ${offered('memory')}`, legend: 'memory' },
            { expr: `${podsOnWorkers} / ${offered('pods')}`, legend: 'pods' }
          ]
        }
      ]
    }
  ]
}
