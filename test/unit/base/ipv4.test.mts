import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  addresses, contains, formatAddress, formatCidr, isEdge, isLoopback, isPrivate, isUnicast, overlap, parseAddress, parseCidr
} from '../../../lib/base/ipv4.mts'

test('addresses and networks', () => {
  assert.is(parseAddress('255.255.255.255'), 4294967295)
  const bad = ['', '1.2.3', '1.2.3.4.5', '01.2.3.4', '1.2.3.256', ' 1.2.3.4', '1.2.3.4\n', '1.2.3.-4', '１.2.3.4']
  for (const text of bad) {
    assert.is(parseAddress(text), undefined, text)
  }
  for (const text of ['10.0.0.0', '10.0.0.0/33', '10.0.0.0/08', '10.0.0.0/', '/8', '10.0.0.0/8/8']) {
    assert.is(parseCidr(text), undefined, text)
  }
  const network = (text: string) => parseCidr(text) ?? { base: NaN, prefix: NaN }
  const pairs: [string, string, boolean][] = [
    ['10.0.0.0/16', '10.0.255.0/24', true],
    ['10.0.255.0/24', '10.0.0.0/16', true],
    ['10.0.0.0/16', '10.1.0.0/16', false],
    ['0.0.0.0/0', '203.0.113.0/24', true]
  ]
  for (const [a, b, expected] of pairs) assert.is(overlap(network(a), network(b)), expected, `${a} ${b}`)
  assert.ok(isPrivate({ base: parseAddress('172.16.0.0') ?? 0, prefix: 12 }))
  assert.not(isPrivate({ base: parseAddress('172.16.0.0') ?? 0, prefix: 8 }))
  assert.not(isUnicast(parseAddress('224.0.0.1') ?? 0))
  assert.ok(isUnicast(parseAddress('198.51.100.1') ?? 0))
})

test('an address and a network are written as they were read', () => {
  for (const text of ['0.0.0.0', '10.0.0.1', '192.168.255.1', '255.255.255.255']) assert.is(formatAddress(parseAddress(text)!), text)
  for (const text of ['0.0.0.0/0', '10.42.0.0/16', '203.0.113.7/32']) assert.is(formatCidr(parseCidr(text)!), text)
})

test('host bits are cut off', () => {
  assert.is(formatCidr(parseCidr('10.0.3.7/16')!), '10.0.0.0/16')
})

test('what lies in a network, and how much there is room for', () => {
  const network = parseCidr('10.0.0.0/30')!
  const quads = ['10.0.0.0', '10.0.0.1', '10.0.0.3', '10.0.0.4', '9.255.255.255']
  assert.equal(quads.map((quad) => contains(network, parseAddress(quad)!)), [true, true, true, false, false])
  assert.is(addresses(network), 4)
})

test('the first and the last address of a network are no machine\'s, but in the smallest ones', () => {
  const edges = (cidr: string, quads: string[]) => quads.map((quad) => isEdge(parseCidr(cidr)!, parseAddress(quad)!))
  assert.equal(edges('10.0.0.0/24', ['10.0.0.0', '10.0.0.1', '10.0.0.255', '10.0.1.255']), [true, false, true, false])
  assert.equal(edges('10.0.0.0/31', ['10.0.0.0', '10.0.0.1']), [false, false])
})

test('loopback', () => {
  assert.equal(['127.0.0.1', '127.255.0.1', '128.0.0.1'].map((quad) => isLoopback(parseAddress(quad)!)), [true, true, false])
})

test.run()
