import { milliseconds } from '../base/words.mts'
import type { Settings } from '../input/settings.mts'
import { get } from '../reach/http.mts'
import type { ClusterStep } from '../run/step.mts'

/** Its host, what is asked there, and what must be in the body. */
type Answering = { host: string; answer: { path: string; body: string } }

/**
 * How applications are asked through the load balancers. Where these speak HTTP they end TLS, and tell nginx how a client came:
 * it answers plain HTTP with a redirect (nginx.org/redirect-to-https). Where they pass TCP through, nginx takes both.
 */
export const schemeOf = ({ ingress }: Settings): 'http' | 'https' => (ingress.client_address === 'x-forwarded-for' ? 'https' : 'http')

/** The step that an application answers at its host through every public load balancer, whatever certificate that shows. */
export const answersAtItsHost = ({ host, answer: { path, body } }: Answering, settings: Settings): ClusterStep => {
  const scheme = schemeOf(settings)
  return {
    name: `answers at https://${host}`,
    check: async () => {
      const lines = await Promise.all(settings.load_balancers.http.map(async (address) => {
        const { status, body: got = '', error, milliseconds: took } = await get(address, { host, path, tls: scheme === 'https', timeout: 10_000 })
        const through = `${path} through ${address}`
        if (error !== undefined) return `${through}: ${error}`
        if (status !== 200) return `${through}: status ${status}${hints[status ?? 0] ?? ''}`
        return got.includes(body) ? `= ${through}: 200 in ${milliseconds(took)} ms` : `${through}: 200, but not with ${body}`
      }))
      return lines.length > 0 ? lines.join('\n') : '= the settings have no load balancer'
    },
    look: settings.load_balancers.http.map((address) => `curl -sSki --connect-to ::${address} ${scheme}://${host}${path}     # 200`).join('\n') || '# The settings have no load balancer.',
    within: 60,
    hint: './09_k3s_test_healthcheck.mts says whether nginx itself is well'
  }
}

// What nginx means by it.
const hints: Record<number, string> = {
  301: ': nginx takes the request for plain HTTP. Does ingress.client_address say what the load balancers speak?',
  404: ': nginx has no Ingress for this host',
  502: ': nginx reaches no pod of it, or none is ready',
  503: ': the load balancer has no node that is well, or no pod is ready',
  504: ': its pods do not answer nginx; does a network policy let the ingress in?'
}
