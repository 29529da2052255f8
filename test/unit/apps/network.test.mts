import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Use } from '../../../lib/apps/app.mts'
import { egressTo, ingressSources, notOutside } from '../../../lib/apps/network.mts'
import { defaultSettings, type Settings } from '../../../lib/input/settings.mts'

const sources = (cluster_cidr: string): string[] => {
  const settings = defaultSettings()
  const text = ingressSources({ ...settings, network: { ...settings.network, cluster_cidr } })
  return (JSON.parse(text) as { ipBlock: { cidr: string } }[]).map(({ ipBlock }) => ipBlock.cidr)
}

test('the ingress comes from the first two addresses of every range that a node may have, and from no other', () => {
  const all = sources('10.42.0.0/16')
  assert.is(all.length, 256)
  assert.equal([all[0], all[1], all.at(-1)], ['10.42.0.0/31', '10.42.1.0/31', '10.42.255.0/31'])
  assert.equal(sources('172.20.8.0/22'), ['172.20.8.0/31', '172.20.9.0/31', '172.20.10.0/31', '172.20.11.0/31'])
})

test('the smallest network for pods has one range: the list is never empty, which would let everybody in', () => {
  assert.equal(sources('10.42.7.0/24'), ['10.42.7.0/31'])
})

const use = (backend: Use['backend']): Use => ({ backend } as Use)
const rules = (change: (backends: Settings['backends']) => void, ...uses: Use[]): unknown => {
  const settings = defaultSettings()
  change(settings.backends)
  return JSON.parse(egressTo(settings, uses))
}

test('each backend is let through by address and port, once', () => {
  assert.equal(rules(() => {}, use('postgres'), use('redis'), use('redis'), use('minio')), [
    { to: [{ ipBlock: { cidr: '10.0.0.10/32' } }], ports: [{ protocol: 'TCP', port: 5432 }] },
    { to: [{ ipBlock: { cidr: '10.0.0.10/32' } }], ports: [{ protocol: 'TCP', port: 6379 }] },
    { to: [{ ipBlock: { cidr: '10.0.0.134/32' } }], ports: [{ protocol: 'TCP', port: 9000 }] }
  ])
})

test('who uses nothing, or what is not there, gets no rule', () => {
  assert.equal(rules(() => {}), [])
  assert.equal(rules(() => {}, use('smtp')), [])
})

test('a mail server with an address is that one; one with a name is anywhere outside, at its port', () => {
  assert.equal(rules(({ smtp }) => { smtp.host = '10.0.0.25' }, use('smtp')), [
    { to: [{ ipBlock: { cidr: '10.0.0.25/32' } }], ports: [{ protocol: 'TCP', port: 587 }] }
  ])
  assert.equal(rules(({ smtp }) => { smtp.host = 'mail.example.com'; smtp.port = 465 }, use('smtp')), [
    { to: [{ ipBlock: { cidr: '0.0.0.0/0', except: JSON.parse(notOutside) } }], ports: [{ protocol: 'TCP', port: 465 }] }
  ])
})

test.run()
