import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { checkOf } from '../../../lib/ingress/check.mts'
import { hasRefusedNothing } from '../../../lib/ingress/refused.mts'
import { defaultSettings } from '../../../lib/input/settings.mts'
import { fakeKubectl } from '../../support/fake-kubectl.mts'

type Cluster = { events?: object[]; ingresses?: object[]; files?: string[]; host?: string }

const told = async ({ events = [], ingresses = [], files = [], host = '' }: Cluster): Promise<string[]> => {
  const kubectl = fakeKubectl((command) => {
    if (command.startsWith('get events')) return JSON.stringify({ items: events })
    if (command.startsWith('get ingress')) return JSON.stringify({ items: ingresses })
    assert.match(command, /^-n nginx-ingress exec .* ls \/etc\/nginx\/conf\.d$/)
    return files.join('\n')
  })
  return (await hasRefusedNothing(kubectl, { ...checkOf(defaultSettings()), host }).check()).split('\n')
}

const ingress = (name: string, host = `${name}.example.com`, ingressClassName = 'nginx') =>
  ({ metadata: { namespace: 'shop', name }, spec: { ingressClassName, rules: [{ host }] } })
const event = (kind: string, namespace: string, name: string, message: string, type = 'Warning') =>
  ({ involvedObject: { kind, namespace, name }, type, message })

test('Ingresses that nginx has are counted; those of another class are not', async () => {
  assert.equal(await told({ ingresses: [ingress('app'), ingress('other', 'other.example.com', 'traefik')], files: ['shop-app.conf'] }), ['= 1 Ingresses'])
})

test('the latest event says why one is refused, also while nginx still has an older file of it', async () => {
  const events = [event('Ingress', 'shop', 'app', 'added', 'Normal'), event('Ingress', 'shop', 'app', 'invalid annotation')]
  assert.equal(await told({ events, ingresses: [ingress('app')], files: ['shop-app.conf'] }), ['Ingress shop/app: invalid annotation'])
  assert.equal(await told({ events: events.toReversed(), ingresses: [ingress('app')], files: ['shop-app.conf'] }), ['= 1 Ingresses'])
})

test('after an hour the event is gone: the missing file shows it', async () => {
  assert.equal(await told({ ingresses: [ingress('app')] }), ["Ingress shop/app: it is missing in nginx's configuration"])
})

test('a refused ConfigMap, and an Ingress with the name of the health check', async () => {
  assert.equal(await told({
    events: [event('ConfigMap', 'nginx-ingress', 'nginx-config', 'invalid value')],
    ingresses: [ingress('app', 'check.example.com')], files: ['shop-app.conf'], host: 'check.example.com'
  }), ['ConfigMap nginx-config: invalid value', 'Ingress shop/app: has the name of the health check, check.example.com'])
})

test.run()
