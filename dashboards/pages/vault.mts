import { AWAY_OR_THERE, NO_OR_YES, type Page } from '../panel.mts'
import { orNone, orZero, rateBy } from '../promql.mts'

const V = 'job="vault"'
const A = 'job="vault-agent"'
const legend = '{{namespace}}'

export const vault: Page = {
  uid: 'vault',
  title: 'Vault',
  says: 'Vault outside the cluster, and its agents in the pods. A sealed Vault hands out no secrets. Its metrics go on only where ' +
    'they need no token.',
  sections: [
    {
      title: 'Is it there, is it open?',
      panels: [
        {
          kind: 'states', title: 'Answers with metrics', says: 'Where metrics need a token, it does not while it is sealed.', unit: 'short', size: [8, 7],
          words: NO_OR_YES,
          queries: [{ expr: `min by (instance) (up{${V}})`, legend: '{{instance}}' }]
        },
        {
          kind: 'states', title: 'Unsealed', related: ['VaultSealed'], says: 'After a restart somebody must unseal it by hand.',
          unit: 'short', size: [8, 7],
          words: [[0, 'sealed', 'red'], [1, 'unsealed', 'green']],
          queries: [{ expr: `max by (instance) (vault_core_unsealed{${V}})`, legend: '{{instance}}' }]
        },
        {
          kind: 'states', title: 'The address that applications use', alerts: ['VaultDown'],
          says: 'Whether a pod can connect to it.', unit: 'short', size: [8, 7],
          words: AWAY_OR_THERE,
          queries: [{ expr: 'min by (backend) (probe_success{job="backends", backend="vault"})', legend: '{{backend}}' }]
        }
      ]
    },
    {
      title: 'Does it keep up?',
      panels: [
        {
          kind: 'lines', title: 'Requests', unit: 'reqps', size: [8, 8], says: 'In a second.',
          queries: [{ expr: rateBy('instance', `vault_core_handle_request_count{${V}}`), legend: '{{instance}}' }]
        },
        {
          kind: 'lines', title: 'Time of a request, 99 of 100', unit: 'ms', size: [8, 8],
          says: 'Of the last ten seconds with requests.',
          nothing: 'No request in these seconds',
          queries: [{ expr: `max by (instance) (vault_core_handle_request{${V}, quantile="0.99"}) >= 0`, legend: '{{instance}}' }]
        },
        {
          kind: 'lines', title: 'Leases', unit: 'short', size: [8, 8],
          says: 'Secrets and tokens that it must end one day. What only grows is never given back.',
          queries: [{ expr: `max by (instance) (vault_expire_num_leases{${V}})`, legend: '{{instance}}' }]
        },
        {
          kind: 'lines', title: 'Memory', unit: 'bytes', size: [8, 8], says: 'That the process has taken from the system.',
          queries: [{ expr: `max by (instance) (vault_runtime_sys_bytes{${V}})`, legend: '{{instance}}' }]
        },
        {
          kind: 'lines', title: 'Audit log that failed', unit: 'ops', size: [8, 8],
          says: 'Without an audit log that works Vault answers nobody.',
          nothing: 'Vault counts none',
          queries: [{ expr: rateBy('instance', `vault_audit_log_request_failure{${V}}`), legend: '{{instance}}' }]
        }
      ]
    },
    {
      title: 'Do its agents in the pods work?',
      panels: [
        {
          kind: 'lines', title: 'Agents', unit: 'short', size: [6, 8], says: 'Pods that get their secrets from Vault, without those of Jobs.',
          queries: [{ expr: orNone('namespace', `count by (namespace) (up{${A}})`), legend }]
        },
        {
          kind: 'lines', title: 'Agents that do not answer', unit: 'short', size: [6, 8], alerts: ['VaultAgentDown'],
          says: 'For a moment those of pods that start or end are among them. The alert counts only pods that are ready.',
          queries: [{ expr: orNone('namespace', `sum by (namespace) (1 - up{${A}})`), legend }]
        },
        {
          kind: 'lines', title: 'Agents without a valid token', unit: 'short', size: [6, 8], alerts: ['VaultAgentNotAuthenticated'],
          says: 'They get nothing from Vault. While it is away an agent has its token for up to an hour.',
          queries: [{ expr: orNone('namespace', `sum by (namespace) (1 - vault_agent_authenticated{${A}})`), legend }]
        },
        {
          kind: 'lines', title: 'Logins that failed', unit: 'ops', size: [6, 8],
          says: 'In a second. An agent tries again after at most five.',
          queries: [{
            expr: orNone('namespace', orZero('namespace', rateBy('namespace', `vault_agent_auth_failure{${A}}`), `up{${A}}`)),
            legend
          }]
        }
      ]
    }
  ]
}
