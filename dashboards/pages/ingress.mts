import { AWAY_OR_THERE, FAILS_OR_ANSWERS, type Page } from '../panel.mts'
import { quantile, rateBy } from '../promql.mts'

const I = 'job="ingress"'
const LATENCY = 'nginx_ingress_controller_upstream_server_response_latency_ms'

// nginx names an upstream NAMESPACE-INGRESS-HOST-SERVICE-PORT. For our own Ingresses, whose namespace and name are known, the
// host is taken out of it. For those of tenants the whole name stays: where the host begins cannot be told.
const OURS = '(?:keybuzz-[a-z0-9]+|monitoring)-[a-z0-9]+-(.+\\\\.[a-z0-9]+)-[^.]+'
const hostOf = (expr: string): string =>
  `label_replace(label_replace(${expr}, "host", "$1", "upstream", "(.+)"), "host", "$1", "upstream", "${OURS}")`

const requests = `sum by (host) (${hostOf(rateBy('upstream', `${LATENCY}_count{${I}}`))})`
const errors = `sum by (host) (${hostOf(rateBy('upstream', `${LATENCY}_count{${I}, code=~"5.."}`))})`
const errorShare = `(${errors} or 0 * ${requests}) / (${requests} > 0)`
const latency = (q: number): string => `max by (host) (${hostOf(quantile(q, 'upstream', `${LATENCY}_bucket{${I}}`))})`

export const ingress: Page = {
  uid: 'ingress',
  title: 'Ingress',
  says: 'NGINX on every node, and what comes through it: requests, errors and times of each host.',
  variables: ['node'],
  sections: [
    {
      title: 'Hosts',
      panels: [
        {
          kind: 'table', title: 'Hosts', unit: 'short', size: [24, 8],
          says: 'As nginx sees the answers of the pods. Answers that nginx gives itself, such as 502 without any pod, are not counted ' +
            'here; the probes on the page Applications see them.',
          queries: [{ expr: requests }, { expr: errorShare }, { expr: latency(0.5) }, { expr: latency(0.99) }],
          columns: {
            host: { name: 'Host' },
            'Value #A': { name: 'Requests', unit: 'reqps', decimals: 1 },
            'Value #B': { name: 'Errors (5xx)', unit: 'percentunit', decimals: 2 },
            'Value #C': { name: 'Half are faster than', unit: 'ms', decimals: 0 },
            'Value #D': { name: '99 of 100 are faster than', unit: 'ms', decimals: 0 }
          }
        },
        {
          kind: 'lines', title: 'Requests', unit: 'reqps', size: [8, 8], says: 'Answers of pods, by host.',
          queries: [{ expr: requests, legend: '{{host}}' }]
        },
        {
          kind: 'lines', title: 'Errors', unit: 'percentunit', size: [8, 8],
          says: 'The share of answers 5xx of the pods, by host.',
          queries: [{ expr: errorShare, legend: '{{host}}' }]
        },
        {
          kind: 'lines', title: 'Times', unit: 'ms', size: [8, 8],
          says: 'From the connection to a pod to the end of its answer, by host.',
          queries: [{ expr: latency(0.99), legend: '{{host}} 99 of 100' }, { expr: latency(0.5), legend: '{{host}} half' }]
        }
      ]
    },
    {
      title: 'NGINX',
      panels: [
        {
          kind: 'states', title: 'NGINX of each node', related: ['IngressDown'],
          says: 'Whether the controller answers Prometheus, and nginx the controller.', unit: 'short',
          size: [8, 8], words: AWAY_OR_THERE,
          queries: [{ expr: `min by (node) (up{${I}, node=~"$node"})`, legend: '{{node}}' }]
        },
        {
          kind: 'states', title: 'Health check through each load balancer', unit: 'short', size: [8, 8],
          alerts: ['BalancerDown'], related: ['SitesDown'],
          says: 'The path that the load balancers ask themselves, asked through them.', words: FAILS_OR_ANSWERS,
          queries: [{ expr: 'min by (balancer) (probe_success{job="balancers"})', legend: '{{balancer}}' }]
        },
        {
          kind: 'states', title: 'Last configuration', unit: 'short', size: [8, 8], alerts: ['IngressReloadFailed'],
          says: 'Where it was refused nginx goes on with the one before. The log of the pod says what it refused.',
          words: [[0, 'refused', 'red'], [1, 'loaded', 'green']],
          queries: [{
            expr: `max by (node) (nginx_ingress_controller_nginx_last_reload_status{${I}, node=~"$node"})`,
            legend: '{{node}}'
          }]
        },
        {
          kind: 'lines', title: 'Requests, by node', unit: 'reqps', size: [12, 8], stacked: true,
          says: 'A node without requests is out of the load balancers. Health checks and probes count too.',
          queries: [{ expr: rateBy('node', `nginx_ingress_nginx_http_requests_total{${I}, node=~"$node"}`), legend: '{{node}}' }]
        },
        {
          kind: 'lines', title: 'Connections, by node', unit: 'short', size: [12, 8], stacked: true,
          says: 'Open connections of clients, websockets included.',
          queries: [{ expr: `sum by (node) (nginx_ingress_nginx_connections_active{${I}, node=~"$node"})`, legend: '{{node}}' }]
        },
        {
          kind: 'lines', title: 'Reloads', unit: 'short', size: [12, 8],
          says: 'Each change of pods or Ingresses reloads nginx. Many of them mean pods that come and go.',
          queries: [{
            expr: `sum by (node) (increase(nginx_ingress_controller_nginx_reloads_total{${I}, node=~"$node"}[5m]))`,
            legend: '{{node}}'
          }]
        },
        {
          kind: 'lines', title: 'Connections that were dropped', unit: 'cps', size: [12, 8],
          says: 'Accepted and not served, because nginx has no connections left (worker-connections).',
          queries: [{
            expr: `${rateBy('node', `nginx_ingress_nginx_connections_accepted{${I}, node=~"$node"}`)}
  - ${rateBy('node', `nginx_ingress_nginx_connections_handled{${I}, node=~"$node"}`)}`,
            legend: '{{node}}'
          }]
        }
      ]
    }
  ]
}
