import { firingTable } from '../look.mts'
import { AWAY_OR_THERE, FAILS_OR_ANSWERS, type Page, type Panel } from '../panel.mts'
import { K, leastFree, offeredAfterLoss, orAway, podsOnWorkers, unready } from '../promql.mts'

// A tile that counts what is wrong: 0 is well. It shows "No data", not 0, when its source is gone.
const wrong = (title: string, expr: string, says: string, to: string, colour: 'red' | 'orange' = 'red'): Panel => ({
  kind: 'number', title, says, unit: 'short', size: [3, 4], to, queries: [{ expr }], limits: [{ fires: 'above', at: 1, colour }]
})

const away = (job: string): string => `count(up{job="${job}"}) - sum(up{job="${job}"})`
const failing = (job: string): string => `count(probe_success{job="${job}"}) - sum(probe_success{job="${job}"})`

export const cluster: Page = {
  uid: 'cluster',
  title: 'Cluster',
  says: 'The page on the wall: what is wrong, since when, and how bad.',
  sections: [
    {
      title: 'Each of these is 0 when all is well',
      panels: [
        wrong('Pages', 'count(ALERTS{alertstate="firing", severity="page"}) or vector(0)', 'Alerts that wake somebody.', '/d/cluster'),
        wrong('Tickets', 'count(ALERTS{alertstate="firing", severity="ticket"}) or vector(0)', 'Alerts for the working day.', '/d/cluster',
          'orange'),
        wrong('Nodes not ready', `sum(kube_node_status_condition{${K}, condition="Ready", status!="true"})`,
          'As the API sees them: a node that died counts after its grace period.', '/d/nodes'),
        wrong('Servers without API', away('apiserver'), 'Servers whose API does not answer Prometheus.', '/d/apiserver'),
        wrong('etcd members away', away('etcd'), 'One of three may be away. With two away nothing can be changed.', '/d/etcd'),
        wrong('Applications failing', failing('apps'), 'Probes of an application through one of the load balancers that fail.', '/d/apps'),
        wrong('Backends away', failing('backends'), 'Addresses of PostgreSQL, Redis and so on that do not accept a connection.', '/d/postgres'),
        wrong('Pods not ready', unready(), 'Pods that should serve and do not.', '/d/workloads', 'orange')
      ]
    },
    {
      title: 'What is wrong',
      panels: [firingTable('What fires, the oldest first', 'alertname!="Watchdog"', [24, 8], 'Nothing is wrong')]
    },
    {
      title: 'Since when',
      panels: [
        {
          kind: 'states', title: 'Nodes', says: 'Whether each node is Ready, as the API sees it.', unit: 'short', size: [8, 9],
          words: [[0, 'not ready', 'red'], [1, 'ready', 'green']], to: '/d/nodes?var-node=${__field.labels.node}',
          queries: [{
            expr: `min by (node) (kube_node_status_condition{${K}, condition="Ready", status="true"})`,
            legend: '{{node}}'
          }]
        },
        {
          kind: 'states', title: 'Applications, through each load balancer', unit: 'short', size: [8, 9],
          says: 'Whether the host of each application answers 200 through each public load balancer.',
          words: FAILS_OR_ANSWERS, to: '/d/apps',
          queries: [{ expr: 'min by (app, balancer) (probe_success{job="apps"})', legend: '{{app}} through {{balancer}}' }]
        },
        {
          kind: 'states', title: 'Backends, load balancers, API and etcd', unit: 'short', size: [8, 9],
          says: 'The addresses that applications use, the health check through each load balancer, and the three servers.',
          words: AWAY_OR_THERE,
          queries: [
            { expr: orAway('backend', 'probe_success{job="backends"}', 'up{job="backends"}'), legend: '{{backend}}' },
            { expr: 'min by (balancer) (probe_success{job="balancers"})', legend: 'balancer {{balancer}}' },
            { expr: 'min by (node) (up{job="apiserver"})', legend: 'API of {{node}}' },
            { expr: orAway('node', 'etcd_server_has_leader{job="etcd"}', 'up{job="etcd"}'), legend: 'etcd of {{node}}' }
          ]
        }
      ]
    },
    {
      title: 'How much is left',
      panels: [
        {
          kind: 'bars', title: 'Promised to pods, of the room that must remain', unit: 'percentunit', size: [6, 8], max: 1,
          says: 'What pods request, and how many there are, of what remains when the largest worker is lost. Above 100 % ' +
            'its pods find no place.',
          alerts: ['ClusterNoRoom'], to: '/d/capacity',
          queries: [
            { measuredBy: 'ClusterNoRoom', legend: '{{resource}}' },
            { expr: `${podsOnWorkers} / (${offeredAfterLoss('pods')})`, legend: 'pods' }
          ]
        },
        {
          kind: 'bars', title: 'Disks, what is free', unit: 'percentunit', size: [6, 8], max: 1,
          alerts: ['NodeDiskFilling', 'NodeDiskFull'], says: 'On the fullest file system of each node.',
          to: '/d/nodes?var-node=${__field.labels.node}',
          queries: [{ expr: `sort(${leastFree('job="node"', 'node')})`, legend: '{{node}}' }]
        },
        {
          kind: 'bars', title: 'Certificates of K3s end in', unit: 'dtdhms', size: [6, 8],
          alerts: ['CertificateEnds', 'CertificateEndsSoon'],
          says: 'The one that ends first on each node. K3s renews at its start those that have less than 120 days left.',
          queries: [{
            expr: 'sort(min by (node) (k3s_certificate_expiration_seconds{job="kubelet"}))',
            legend: '{{node}}'
          }]
        },
        {
          kind: 'lines', title: 'Requests', unit: 'reqps', size: [6, 8],
          says: 'What the ingress serves on all nodes together.', to: '/d/ingress',
          queries: [{
            expr: 'sum(rate(nginx_ingress_nginx_http_requests_total{job="ingress"}[$__rate_interval]))',
            legend: 'requests'
          }]
        }
      ]
    }
  ]
}
