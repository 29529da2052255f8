// PromQL that several pages share. `${of}` is always a metric with its selector, such as up{job="node"}.

/** The window of rates: Grafana makes it fit the time range, never under four scrapes. */
export const WINDOW = '$__rate_interval'

/** How much a counter grows in a second. */
export const perSecond = (of: string): string => `rate(${of}[${WINDOW}])`

/** The sum of how much counters grow in a second, for each value of the labels `by`. */
export const rateBy = (by: string, of: string): string => `sum by (${by}) (${perSecond(of)})`

/** The time, or size, that a share `q` of all observations stayed below. `of` is the histogram's metric that ends in _bucket. */
export const quantile = (q: number, by: string, of: string): string =>
  `histogram_quantile(${q}, sum by (${by}, le) (${perSecond(of)}))`

/** 0 where a counter that begins with the first event does not exist yet, but only while its target answers. */
export const orZero = (by: string, expr: string, up: string): string =>
  `${expr} or sum by (${by}) (0 * (${up} == 1))`

/** 0 for those whose target does not answer: a host that is away has no series of its own, and would be missing in a row of states. */
export const orAway = (by: string, expr: string, up: string): string => `min by (${by}) (${expr} or on (${by}) ${up} == 0)`

/** 0 for "none" where there is nothing at all that could have the label. */
export const orNone = (label: string, expr: string): string => `${expr} or on () label_replace(vector(0), "${label}", "none", "", "")`

/** The selector of metrics of kube-state-metrics. */
export const K = 'job="kube-state-metrics"'

/** Pods that should be ready and are not. Those of a Job that has ended are none of them. */
export const unready = (selector = ''): string => `sum(
  kube_pod_status_ready{${K}, condition!="true"${selector}}
  * on (namespace, pod) group_left ()
  sum by (namespace, pod) (kube_pod_status_phase{${K}, phase!="Succeeded"})
)`

// As the alerts: the disks of the node, not what is mounted from them a second time.
const DISKS = 'fstype!~"overlay|squashfs|iso9660|nsfs|fuse.*", mountpoint!~"/var/lib/kubelet/.+|/run/.+"'

/** The share of disks that is free, least of all that have the same labels `by`. */
export const leastFree = (selector: string, by: string): string =>
  `min by (${by}) (node_filesystem_avail_bytes{${selector}, ${DISKS}} / node_filesystem_size_bytes{${selector}})`

/** The same for inodes. Some file systems have no number of them. */
export const leastInodesFree = (selector: string, by: string): string =>
  `min by (${by}) (node_filesystem_files_free{${selector}, ${DISKS}} / (node_filesystem_files{${selector}} > 0))`

// Workers are the nodes that are no servers.
const ofWorkers = (series: string): string => `(${series} unless on (node) kube_node_role{${K}, role="control-plane"})`

const ofRunningPods = (series: string): string =>
  `${series} * on (namespace, pod) group_left () (sum by (namespace, pod) (kube_pod_status_phase{${K}, phase=~"Pending|Running"}) == 1)`

/** What all workers offer to pods: 'pods', 'cpu' (CPUs) or 'memory' (bytes). */
export const offered = (resource: string): string =>
  `sum(${ofWorkers(`kube_node_status_allocatable{${K}, resource="${resource}"}`)})`

/** What they still offer once the largest of them are lost, as many as capacity.lost_workers says. */
export const offeredAfterLoss = (resource: string): string => {
  const each = ofWorkers(`kube_node_status_allocatable{${K}, resource="${resource}"}`)
  return `sum(${each}) - (sum(topk(scalar(keybuzz_capacity_lost_workers), ${each})) or vector(0))`
}

/** What the pods on workers request ('requests') or may use ('limits') of 'cpu' or 'memory'. */
export const asked = (kind: 'requests' | 'limits', resource: string): string =>
  `sum(${ofWorkers(ofRunningPods(`kube_pod_container_resource_${kind}{${K}, resource="${resource}"}`))})`

/** Pods on workers, without those that have ended. */
export const podsOnWorkers = `count(${ofWorkers(ofRunningPods(`kube_pod_info{${K}}`))})`
