import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Use } from '../../../lib/apps/app.mts'
import { egressTo } from '../../../lib/apps/network.mts'
import { notOutside } from '../../../lib/cluster/network.mts'
import { defaultSettings, type Settings } from '../../../lib/input/settings.mts'

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
