import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { ingressSources } from '../../../lib/cluster/network.mts'
import { defaultSettings } from '../../../lib/input/settings.mts'

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

test.run()
