import { milliseconds } from '../base/words.mts'
import type { Settings } from '../input/settings.mts'
import { get } from '../reach/http.mts'
import type { ClusterStep } from '../run/step.mts'
import type { App } from './app.mts'

/**
 * The step that an application answers at its host through every public load balancer. TLS ends there, so plain HTTP is what
 * their other side speaks.
 */
export const answersAtItsHost = ({ host, answer: { path, body } }: App, { load_balancers: { http } }: Settings): ClusterStep => ({
  name: `answers at https://${host}`,
  check: async () => {
    const lines = await Promise.all(http.map(async (address) => {
      const { status, body: got = '', error, milliseconds: took } = await get(address, { host, path, timeout: 10_000 })
      const through = `${path} through ${address}`
      if (error !== undefined) return `${through}: ${error}`
      if (status !== 200) return `${through}: status ${status}${hints[status ?? 0] ?? ''}`
      return got.includes(body) ? `= ${through}: 200 in ${milliseconds(took)} ms` : `${through}: 200, but not with ${body}`
    }))
    return lines.length > 0 ? lines.join('\n') : '= the settings have no load balancer'
  },
  look: http.map((address) => `curl -sS -i -H 'Host: ${host}' http://${address}${path}     # 200`).join('\n') || '# The settings have no load balancer.',
  within: 60,
  hint: './09_k3s_test_healthcheck.mts says whether nginx itself is well'
})

// What nginx means by it.
const hints: Record<number, string> = {
  404: ': nginx has no Ingress for this host',
  502: ': nginx reaches no pod of it, or none is ready',
  503: ': the load balancer has no node that is well, or no pod is ready',
  504: ': its pods do not answer nginx; does a network policy let the ingress in?'
}
