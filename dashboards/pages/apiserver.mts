import { AWAY_OR_THERE, type Page } from '../panel.mts'
import { perSecond, quantile, rateBy } from '../promql.mts'

const A = 'job="apiserver"'
// Watches and connections into pods last as long as the client wants.
const SHORT = `${A}, verb!~"WATCH|WATCHLIST|CONNECT|PROXY", subresource!~"log|exec|attach|portforward|proxy"`

export const apiserver: Page = {
  uid: 'apiserver',
  title: 'API server',
  says: 'The Kubernetes API on the three servers: whether it is there, fails or is slow.',
  sections: [
    {
      title: 'Is it there, and does it fail?',
      panels: [
        {
          kind: 'states', title: 'API of each server', alerts: ['ApiServerDown'], related: ['ApiDown'],
          says: 'Whether the API of each server answers Prometheus.', unit: 'short', size: [8, 8],
          words: AWAY_OR_THERE, queries: [{ expr: `min by (node) (up{${A}})`, legend: '{{node}}' }]
        },
        {
          kind: 'lines', title: 'Requests that fail by the fault of the API', unit: 'percentunit', size: [8, 8],
          alerts: ['ApiErrors'], says: 'The share of answers 5xx.',
          queries: [{
            expr: `(sum(${perSecond(`apiserver_request_total{${A}, code=~"5.."}`)}) or sum(0 * (up{${A}} == 1)))
  / sum(${perSecond(`apiserver_request_total{${A}}`)})`,
            legend: 'all servers'
          }]
        },
        {
          kind: 'lines', title: 'Requests', unit: 'reqps', size: [8, 8], stacked: true,
          says: 'What each server answers.',
          queries: [{ expr: rateBy('node', `apiserver_request_total{${A}}`), legend: '{{node}}' }]
        }
      ]
    },
    {
      title: 'Is it slow?',
      panels: [
        {
          kind: 'lines', title: 'Answers, 99 of 100', unit: 's', size: [8, 8],
          says: 'Without watches and connections into pods. A slow etcd shows here first: see its page.',
          queries: [{ expr: quantile(0.99, 'node', `apiserver_request_duration_seconds_bucket{${SHORT}}`), legend: '{{node}}' }]
        },
        {
          kind: 'lines', title: 'Answers by verb, 99 of 100', unit: 's', size: [8, 8],
          alerts: ['ApiSlow'], says: 'LIST of many objects is slower than the rest by nature.',
          queries: [{ expr: quantile(0.99, 'verb', `apiserver_request_duration_seconds_bucket{${SHORT}}`), legend: '{{verb}}' }]
        },
        {
          kind: 'lines', title: 'Requests being answered', unit: 'short', size: [8, 8],
          says: 'Where too many wait, more are refused with 429.',
          queries: [{
            expr: `sum by (node, request_kind) (apiserver_current_inflight_requests{${A}})`,
            legend: '{{node}} {{request_kind}}'
          }]
        }
      ]
    },
    {
      title: 'What it needs, and what it depends on',
      panels: [
        {
          kind: 'lines', title: 'Memory of K3s on the servers', unit: 'bytes', size: [12, 8],
          says: 'The one process of K3s: API, controllers, scheduler, kubelet.',
          queries: [{
            expr: `max by (node) (process_resident_memory_bytes{job="kubelet"}) and on (node) up{${A}}`,
            legend: '{{node}}'
          }]
        },
        {
          kind: 'lines', title: 'Most objects', unit: 'short', size: [12, 8],
          says: 'Kinds with the most objects. One that only grows is never cleaned up.',
          queries: [{ expr: `topk(8, max by (resource) (apiserver_resource_objects{${A}}))`, legend: '{{resource}}' }]
        },
        {
          kind: 'states', title: 'Servers, as K3s of each node sees them', unit: 'short', size: [12, 9],
          says: 'K3s on each node balances over the servers by itself. Its words: failed, standby, unchecked, recovering, healthy, ' +
            'preferred, active.',
          words: [
            [1, 'failed', 'red'], [2, 'standby', 'blue'], [3, 'unchecked', 'blue'], [4, 'recovering', 'orange'],
            [5, 'healthy', 'green'], [6, 'preferred', 'green'], [7, 'active', 'green']
          ],
          queries: [{
            expr: 'max by (node, server) (k3s_loadbalancer_server_health{job="kubelet", name="k3s-agent-load-balancer"})',
            legend: '{{node}} to {{server}}'
          }]
        },
        {
          kind: 'lines', title: 'Admission webhooks that were passed over', unit: 'short', size: [12, 9],
          alerts: ['AdmissionFailsOpen'],
          says: 'Requests let through although the webhook that should look at them did not answer. ' +
            'These scripts install none: Vault\'s agents come by an admission policy.',
          nothing: 'No webhook was ever passed over',
          queries: [{ measuredBy: 'AdmissionFailsOpen', legend: '{{name}}' }]
        }
      ]
    }
  ]
}
