import { AWAY_OR_THERE, NO_OR_YES, type Page } from '../panel.mts'
import { K, leastFree, leastInodesFree, perSecond, quantile } from '../promql.mts'

const N = 'job="node", node=~"$node"'
const KN = `${K}, node=~"$node"`

const busy = `1 - avg by (node) (${perSecond(`node_cpu_seconds_total{${N}, mode="idle"}`)})`
const memory = `min by (node) (node_memory_MemAvailable_bytes{${N}} / node_memory_MemTotal_bytes{${N}})`
const NIC = 'device!~"lo|veth.*|cni.*|flannel.*|docker.*|br-.*"'

export const nodes: Page = {
  uid: 'nodes',
  title: 'Nodes',
  says: 'Servers and workers: whether they are there, and whether one is full, busy or slow.',
  variables: ['node'],
  sections: [
    {
      title: 'All at a glance',
      panels: [
        {
          kind: 'table', title: 'Nodes', says: 'One line for each node. A click on a name shows only that node.', unit: 'short',
          size: [24, 9],
          queries: [
            { expr: `min by (node) (kube_node_status_condition{${KN}, condition="Ready", status="true"})` },
            { expr: `min by (node) (up{${N}})` },
            { expr: busy },
            { expr: memory },
            { expr: leastFree(N, 'node') },
            { expr: `count by (node) (kube_pod_info{${KN}})` },
            { expr: `time() - max by (node) (node_boot_time_seconds{${N}})` }
          ],
          columns: {
            node: { name: 'Node', to: '/d/nodes?var-node=${__value.text}' },
            'Value #A': { name: 'Ready', words: NO_OR_YES },
            'Value #B': { name: 'node-exporter', words: AWAY_OR_THERE },
            'Value #C': { name: 'CPU in use', unit: 'percentunit', decimals: 0 },
            'Value #D': { name: 'Memory free', unit: 'percentunit', decimals: 0 },
            'Value #E': { name: 'Disk free', unit: 'percentunit', decimals: 0 },
            'Value #F': { name: 'Pods' },
            'Value #G': { name: 'Up since', unit: 'dtdhms' }
          }
        }
      ]
    },
    {
      title: 'Is each there?',
      panels: [
        {
          kind: 'states', title: 'Ready', says: 'As the API sees it. It moves the pods of a node that is not ready.',
          unit: 'short', size: [8, 8],
          alerts: ['NodeNotReady'], words: [[0, 'not ready', 'red'], [1, 'ready', 'green']],
          queries: [{
            expr: `min by (node) (kube_node_status_condition{${KN}, condition="Ready", status="true"})`,
            legend: '{{node}}'
          }]
        },
        {
          kind: 'states', title: 'Answers Prometheus', unit: 'short', size: [8, 8], alerts: ['NodeDown', 'K3sDown'],
          words: AWAY_OR_THERE,
          says: 'The kubelet is a part of K3s, node-exporter is not: where only one is away, the machine runs.',
          queries: [
            { expr: 'min by (node) (up{job="kubelet", node=~"$node"})', legend: '{{node}} kubelet' },
            { expr: 'min by (node) (up{job="node", node=~"$node"})', legend: '{{node}} node-exporter' }
          ]
        },
        {
          kind: 'states', title: 'Takes pods', unit: 'short', size: [8, 8], alerts: ['NodeCordoned', 'NodePressure'],
          says: 'A node is cordoned by hand, or by a drain. Under pressure it evicts pods.',
          words: [[0, 'no', 'green'], [1, 'yes', 'orange']],
          queries: [
            { expr: `max by (node) (kube_node_spec_unschedulable{${KN}})`, legend: '{{node}} cordoned' },
            {
              expr: `max by (node) (kube_node_status_condition{${KN}, condition=~".+Pressure", status="true"})`,
              legend: '{{node}} under pressure'
            }
          ]
        }
      ]
    },
    {
      title: 'Is one full?',
      panels: [
        {
          kind: 'lines', title: 'Memory free', unit: 'percentunit', size: [8, 8], max: 1, alerts: ['NodeMemoryLow'],
          says: 'With what the kernel gives back when it is asked. At the end the kubelet evicts pods.',
          queries: [{ expr: memory, legend: '{{node}}' }]
        },
        {
          kind: 'lines', title: 'Disks free', unit: 'percentunit', size: [8, 8], max: 1,
          alerts: ['NodeDiskFilling', 'NodeDiskFull'],
          says: 'local-path sets no limits: a volume that grows fills the disk of its node.',
          queries: [{ expr: leastFree(N, 'node, mountpoint'), legend: '{{node}} {{mountpoint}}' }]
        },
        {
          kind: 'lines', title: 'Inodes free', unit: 'percentunit', size: [8, 8], max: 1, alerts: ['NodeDiskFilling'],
          says: 'Many small files fill a disk that still has room.',
          queries: [{ expr: leastInodesFree(N, 'node, mountpoint'), legend: '{{node}} {{mountpoint}}' }]
        }
      ]
    },
    {
      title: 'Is one busy or slow?',
      panels: [
        {
          kind: 'lines', title: 'CPU in use', unit: 'percentunit', size: [8, 8], max: 1, alerts: ['NodeCpuBusy'],
          says: 'Of all CPUs of the node.', queries: [{ expr: busy, legend: '{{node}}' }]
        },
        {
          kind: 'lines', title: 'Load for each CPU', unit: 'short', decimals: 1, size: [8, 8],
          says: 'Processes that run or wait for a disk. Above 1 for long, some always wait.',
          queries: [{
            expr: `max by (node) (node_load5{${N}}) / count by (node) (node_cpu_seconds_total{${N}, mode="idle"})`,
            legend: '{{node}}'
          }]
        },
        {
          kind: 'lines', title: 'Time in which something waits', unit: 'percentunit', size: [8, 8],
          says: 'The share of time in which at least one process waits for CPU, disk or memory (pressure of the kernel).',
          queries: [
            { expr: `max by (node) (${perSecond(`node_pressure_cpu_waiting_seconds_total{${N}}`)})`, legend: '{{node}} CPU' },
            { expr: `max by (node) (${perSecond(`node_pressure_io_waiting_seconds_total{${N}}`)})`, legend: '{{node}} disk' },
            {
              expr: `max by (node) (${perSecond(`node_pressure_memory_waiting_seconds_total{${N}}`)})`, legend: '{{node}} memory'
            }
          ]
        },
        {
          kind: 'lines', title: 'Disks at work', unit: 'percentunit', size: [8, 8],
          says: 'The share of time in which a disk has something to do.',
          queries: [{
            expr: `max by (node, device) (${perSecond(`node_disk_io_time_seconds_total{${N}}`)})`,
            legend: '{{node}} {{device}}'
          }]
        },
        {
          kind: 'lines', title: 'Network', unit: 'Bps', size: [8, 8],
          says: 'All cards of the node, without those of pods.',
          queries: [
            { expr: `sum by (node) (${perSecond(`node_network_receive_bytes_total{${N}, ${NIC}}`)})`, legend: '{{node}} in' },
            { expr: `sum by (node) (${perSecond(`node_network_transmit_bytes_total{${N}, ${NIC}}`)})`, legend: '{{node}} out' }
          ]
        },
        {
          kind: 'lines', title: 'Connections that are tracked, of the most', unit: 'percentunit', size: [8, 8], max: 1,
          says: 'At 100 % new connections are dropped without a word.',
          queries: [{
            expr: `max by (node) (node_nf_conntrack_entries{${N}} / node_nf_conntrack_entries_limit{${N}})`,
            legend: '{{node}}'
          }]
        }
      ]
    },
    {
      title: 'Clock and kubelet',
      panels: [
        {
          kind: 'lines', title: 'Clock, off by', unit: 's', size: [12, 8], alerts: ['NodeClockWrong'],
          says: 'Against the clock of Prometheus. etcd warns at one second, certificates fail when it is much more.',
          queries: [{
            expr: `abs(max by (node) (node_time_seconds{${N}} - timestamp(node_time_seconds{${N}})))`,
            legend: '{{node}}'
          }]
        },
        {
          kind: 'lines', title: 'Kubelet looks at all containers, 99 of 100', unit: 's', size: [12, 8],
          says: 'After three minutes the node is not ready any more: the container runtime is stuck or the disk is slow.',
          queries: [{
            expr: quantile(0.99, 'node', 'kubelet_pleg_relist_duration_seconds_bucket{job="kubelet", node=~"$node"}'),
            legend: '{{node}}'
          }]
        }
      ]
    }
  ]
}
