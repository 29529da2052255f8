import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { defaultSettings, schema } from '../../../lib/input/schema.mts'

// What is refused, and what is said then, is in test/fixtures/settings: inputs.test.mts.
const takes = (data: object): boolean => schema.safeParse(data).success

test('nothing, and empty sections, are the defaults', () => {
  assert.equal(schema.parse(null), defaultSettings())
  assert.equal(schema.parse({ network: null, prepare: { server: null } }), defaultSettings())
})

test('versions of releases, candidates and the lab are accepted', () => {
  for (const version of ['v1.36.5+k3s1', 'v1.37.10+k3s12', 'v1.36.6-rc1+k3s1', 'v1.36.4+k3s1-lab']) {
    assert.is(schema.parse({ k3s: { version } }).k3s.version, version)
  }
})

test('further arguments are accepted', () => {
  const kubelet_args = ['fail-cgroupv1=false', 'eviction-hard=memory.available<100Mi,nodefs.available<10%', 'v=2']
  const etcd_args = ['heartbeat-interval=1000', 'election-timeout=10000', 'quota-backend-bytes=4294967296']
  const { k3s } = schema.parse({ k3s: { kubelet_args, etcd_args } })
  assert.equal([k3s.kubelet_args, k3s.etcd_args], [kubelet_args, etcd_args])
})

test('a mirror of releases may only be unencrypted on this machine', () => {
  const from = (release_url: string): boolean => takes({ k3s: { release_url } })
  assert.equal(['https://mirror.keybuzz.io:8443/k3s', 'http://127.0.0.1:8080/k3s', 'http://10.0.0.3/k3s', 'https://host/k3s?x=1'].map(from),
    [true, true, false, false])
})

test('volumes are in a folder, and nowhere above it', () => {
  const at = (path: string): boolean => takes({ addons: { volumes: { path } } })
  assert.equal(['/srv/volumes', '/', '/srv/../etc', 'srv', '/srv/'].map(at), [true, false, false, false, false])
})

test('CoreDNS has two replicas or more', () => {
  assert.equal(['every-node', 2, 100, 1, 2.5, '2', 'some'].map((dns_replicas) => takes({ addons: { dns_replicas } })),
    [true, true, true, false, false, false, false])
})

test('an image has a tag, and may have a digest', () => {
  const image = 'registry.keybuzz.io:5000/nginx/ingress:5.5.4'
  assert.equal([image, `${image}@sha256:${'0'.repeat(64)}`, 'docker.io/nginx', 'nginx:1', `${image} x`].map((one) => takes({ ingress: { image: one } })),
    [true, true, false, false, false])
})

test.run()
