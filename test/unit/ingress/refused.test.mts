import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { checkOf } from '../../../lib/ingress/check.mts'
import { hasRefusedNothing } from '../../../lib/ingress/refused.mts'
import { defaultSettings } from '../../../lib/input/settings.mts'
import { fakeKubectl } from '../../support/fake-kubectl.mts'
import { onNode } from '../../support/node-shell.mts'

type Cluster = { events?: object[]; ingresses?: object[]; files?: string[]; minions?: string[]; host?: string }

const told = async ({ events = [], ingresses = [], files = [], minions = [], host = '' }: Cluster): Promise<string[]> => {
  const kubectl = fakeKubectl((command) => {
    if (command.startsWith('get events')) return JSON.stringify({ items: events })
    if (command.startsWith('get ingress')) {
      const classes = ['nginx', 'traefik'].map((name) => ({ kind: 'IngressClass', metadata: { name } }))
      return JSON.stringify({ items: [...ingresses, ...classes] })
    }
    if (/exec .* sh -c /.test(command)) return minions.join('\n')
    assert.match(command, /^-n nginx-ingress exec .* ls \/etc\/nginx\/conf\.d$/)
    return files.join('\n')
  })
  return (await hasRefusedNothing(kubectl, { ...checkOf(defaultSettings()), host }).check()).split('\n')
}

const ingress = (name: string, host = `${name}.example.com`, ingressClassName = 'nginx', annotations: Record<string, string> = {}) =>
  ({ kind: 'Ingress', metadata: { namespace: 'shop', name, annotations }, spec: { ...(ingressClassName && { ingressClassName }), rules: [{ host }] } })
const minion = (name: string) => ingress(name, 'app.example.com', 'nginx', { 'nginx.org/mergeable-ingress-type': 'minion' })
const old = (name: string, theClass: string, ingressClassName = '') => ingress(name, undefined, ingressClassName, { 'kubernetes.io/ingress.class': theClass })
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

test('a minion has no file of its own: it is in the one of its master', async () => {
  const master = ingress('app', 'app.example.com', 'nginx', { 'nginx.org/mergeable-ingress-type': 'master' })
  const ingresses = [master, minion('tea'), minion('coffee')]
  const files = ['shop-app.conf']
  assert.equal(await told({ ingresses, files, minions: ['shop/coffee', 'shop/tea', 'shop/tea'] }), ['= 3 Ingresses'])
  assert.equal(await told({ ingresses, files, minions: ['shop/coffee'] }),
    ["Ingress shop/tea: it is missing in nginx's configuration (no master has its host, or another minion its paths)"])
  // Another's file of that name says nothing of a minion, and its event is still the better reason.
  const events = [event('Ingress', 'shop', 'tea', "Ingress master is invalid or doesn't exist")]
  assert.equal(await told({ events, ingresses: [minion('tea')], files: ['shop-tea.conf'] }),
    ["Ingress shop/tea: Ingress master is invalid or doesn't exist"])
})

test("an Ingress that no controller takes is told as nobody's, and is no fault", async () => {
  const ingresses = [ingress('app'), ingress('blog', undefined, ''), ingress('typo', undefined, 'ngnix'), ingress('other', undefined, 'traefik')]
  assert.equal(await told({ ingresses, files: ['shop-app.conf'] }), ['= 1 Ingresses', "= nobody's: shop/blog, shop/typo (class ngnix)"])
  assert.equal(await told({ ingresses }), [
    "Ingress shop/app: it is missing in nginx's configuration", "= nobody's: shop/blog, shop/typo (class ngnix)"
  ])
})

test('the old annotation counts, and before the field, as it does for the controller', async () => {
  const ingresses = [old('app', 'nginx'), old('left', 'nginx', 'traefik'), old('away', 'traefik', 'nginx')]
  assert.equal(await told({ ingresses, files: ['shop-app.conf', 'shop-left.conf'] }), [
    '= 2 Ingresses', '= by the old annotation kubernetes.io/ingress.class: shop/app, shop/left'
  ])
  assert.equal(await told({ ingresses: [old('app', 'nginx')] }), [
    "Ingress shop/app: it is missing in nginx's configuration", '= by the old annotation kubernetes.io/ingress.class: shop/app'
  ])
  assert.equal(await told({ ingresses: [old('lost', 'haproxy')] }), ['= 0 Ingresses', "= nobody's: shop/lost (class haproxy)"])
})

test('what finds the minions reads the files as the controller writes them', () => {
  const folder = mkdtempSync(join(tmpdir(), 'keybuzz-conf-'))
  const { look } = hasRefusedNothing(fakeKubectl(() => ''), checkOf(defaultSettings()))
  const command = /sh -c '(.*)'/.exec(look)![1]!.replace('/etc/nginx/conf.d', folder)
  assert.equal(onNode(command), { stdout: '', stderr: '', code: 0 })
  writeFileSync(join(folder, 'shop-app.conf'), 'server {\n\tlocation /tea {\n\t\t# location for minion shop/tea\n\t\tset $resource_name "tea";\n')
  assert.is(onNode(command).stdout, 'shop/tea')
})

test('a refused ConfigMap, and an Ingress with the name of the health check', async () => {
  assert.equal(await told({
    events: [event('ConfigMap', 'nginx-ingress', 'nginx-config', 'invalid value')],
    ingresses: [ingress('app', 'check.example.com')], files: ['shop-app.conf'], host: 'check.example.com'
  }), ['ConfigMap nginx-config: invalid value', 'Ingress shop/app: has the name of the health check, check.example.com'])
})

test.run()
