import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { appConflicts } from '../../../../lib/input/rules/apps.mts'
import { defaultSettings, type Settings } from '../../../../lib/input/settings.mts'
import { pathText } from '../../../../lib/input/yaml.mts'

const told = (change: (settings: Settings) => void): string[] => {
  const settings = defaultSettings()
  change(settings)
  return appConflicts(settings).map(({ path, expected }) => `${pathText(path)}: ${expected}`)
}

test('the defaults fit together, also with Superset', () => {
  assert.equal(told(() => {}), [])
  assert.equal(told(({ apps }) => { apps.superset.enabled = true }), [])
})

test('the least is not more than the most, of replicas and of memory, however deep', () => {
  assert.equal(told(({ apps }) => {
    apps.api.replicas.least = 21
    apps.front.resources.memory = 257
    apps.n8n.runner.resources.most_memory = 255
    apps.superset.web.resources.memory = 2048
  }), [
    'apps.api.replicas.most: at least the 21 of apps.api.replicas.least',
    'apps.front.resources.most_memory: at least the 257 of apps.front.resources.memory',
    'apps.n8n.runner.resources.most_memory: at least the 256 of apps.n8n.runner.resources.memory'
  ])
})

test('no two applications share a host, a database or a bucket', () => {
  assert.equal(told(({ apps }) => {
    apps.n8n.host = apps.front.host
    apps.n8n.database = apps.api.database
    apps.n8n.redis_database = apps.chatwoot.redis_database
    apps.chatwoot.bucket = apps.api.bucket
  }), [
    'apps.n8n.host: a host of its own, and apps.front.host is the same',
    'apps.n8n.database: a PostgreSQL database of its own, and apps.api.database is the same',
    'apps.n8n.redis_database: a Redis database of its own, and apps.chatwoot.redis_database is the same',
    'apps.chatwoot.bucket: a bucket of its own, and apps.api.bucket is the same'
  ])
})

test('three with the same are told against the first; one that is not enabled shares with nobody', () => {
  const same = ({ apps }: Settings): void => { apps.api.database = apps.n8n.database = apps.superset.database = 'one' }
  const of = (name: string): string => `apps.${name}.database: a PostgreSQL database of its own, and apps.api.database is the same`
  assert.equal(told(same), [of('n8n')])
  assert.equal(told((settings) => { same(settings); settings.apps.superset.enabled = true }), [of('n8n'), of('superset')])
})

test('the host of the health check is no application\'s', () => {
  assert.equal(told(({ apps, ingress }) => { ingress.health_check.host = apps.api.host }), [
    'apps.api.host: a host of its own, and ingress.health_check.host is the same'
  ])
})

test('n8n and its runners have the same tag, whatever the registry and the digest', () => {
  const runners = (image: string): string[] => told(({ apps }) => { apps.n8n.runners_image = image })
  assert.equal(runners('registry.example.com:5000/n8n/runners:2.48.5@sha256:' + '0'.repeat(64)), [])
  assert.equal(runners('docker.io/n8nio/runners:2.48.4'), ['apps.n8n.runners_image: the tag 2.48.5 of apps.n8n.image'])
})

test('no backend is a pod or a service', () => {
  assert.equal(told(({ backends }) => {
    backends.postgres.address = '10.42.3.7'
    backends.vault.address = '10.43.0.99'
    backends.redis.address = ''
  }), [
    'backends.postgres.address: an address outside network.cluster_cidr 10.42.0.0/16',
    'backends.vault.address: an address outside network.service_cidr 10.43.0.0/16'
  ])
})

test('where the networks overlap this is told once, and not of every backend', () => {
  assert.equal(told(({ network }) => { network.service_cidr = '10.0.0.0/12' }), [])
})

test.run()
