import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { clusterConflicts } from '../../../../lib/input/rules/cluster.mts'
import { defaultSettings, type Settings } from '../../../../lib/input/settings.mts'
import { pathText } from '../../../../lib/input/yaml.mts'

type Changes = { network?: Partial<Settings['network']>; load_balancers?: Partial<Settings['load_balancers']>; k3s?: Partial<Settings['k3s']> }

const told = ({ network, load_balancers, k3s }: Changes): string[] => {
  const settings = defaultSettings()
  return clusterConflicts({
    ...settings,
    network: { ...settings.network, ...network },
    load_balancers: { ...settings.load_balancers, ...load_balancers },
    k3s: { ...settings.k3s, ...k3s }
  }).map(({ path, uses }) => `${pathText(path)} of ${uses.map(pathText).join(', ')}`)
}

test('the defaults fit together', () => {
  assert.equal(told({}), [])
})

test('no two networks share an address', () => {
  assert.equal(told({ network: { cluster_cidr: '10.0.128.0/17' } }), ['network.cluster_cidr of network.private_cidr, network.cluster_cidr'])
  assert.equal(told({ network: { service_cidr: '10.42.0.0/20', cluster_dns: '10.42.0.10' } }), [
    'network.service_cidr of network.cluster_cidr, network.service_cidr'
  ])
})

test('the address of CoreDNS is a service\'s, and not the API\'s', () => {
  const fits = (cluster_dns: string): boolean => told({ network: { cluster_dns } }).length === 0
  assert.equal(['10.43.0.0', '10.43.0.1', '10.43.0.2', '10.43.255.254', '10.43.255.255', '10.44.0.10'].map(fits), [
    false, false, true, true, false, false
  ])
})

test('each load balancer has an address of the private network', () => {
  const api = { ...defaultSettings().load_balancers.api, address: '198.51.100.1' }
  assert.equal(told({ load_balancers: { api, http: ['10.0.0.5', '198.51.100.2'] } }), [
    'load_balancers.api.address of network.private_cidr, load_balancers.api.address',
    'load_balancers.http[1] of network.private_cidr, load_balancers.http'
  ])
})

test('a resolver is none of the cluster\'s own', () => {
  assert.equal(told({ network: { nameservers: ['1.1.1.1', '10.43.0.10', '10.42.0.9'] } }), [
    'network.nameservers[1] of network.service_cidr, network.nameservers',
    'network.nameservers[2] of network.cluster_cidr, network.nameservers'
  ])
})

test('an election takes at least five heartbeats, those of K3s where none are set', () => {
  const fits = (...etcd_args: string[]): boolean => told({ k3s: { etcd_args } }).length === 0
  assert.ok(fits())
  assert.ok(fits('heartbeat-interval=200', 'election-timeout=1000'))
  assert.not(fits('heartbeat-interval=200', 'election-timeout=999'))
  assert.not(fits('election-timeout=2000'))
  assert.not(fits('heartbeat-interval=1001'))
})

test.run()
