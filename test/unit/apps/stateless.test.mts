import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { statefulFaults } from '../../../lib/apps/stateless.mts'

const deployment = (image: string): string => `kind: Deployment
metadata: {name: db}
spec: {template: {spec: {containers: [{name: db, image: "${image}"}]}}}`

const valuesOf = (...manifests: string[]): (string | undefined)[] => statefulFaults('manifests', manifests).map(({ value }) => value)

test('databases, queues and object stores are refused by their image, whatever the registry and the tag', () => {
  for (const image of [
    'postgres:17', 'docker.io/library/redis:7.4-alpine', 'ghcr.io/x/rabbitmq:4', 'quay.io/minio/minio:latest', 'mariadb', 'bitnami/postgresql-repmgr:16',
    'registry:5000/mysql@sha256:00'
  ]) assert.is(valuesOf(deployment(image)).length, 1, image)
})

test('what only speaks to them is no such thing', () => {
  for (const image of ['ghcr.io/keybuzzio/platform-api:1', 'docker.io/n8nio/n8n:2', 'prometheuscommunity/postgres_exporter:v0.17', 'x/redisinsight:2']) {
    assert.equal(valuesOf(deployment(image)), [], image)
  }
})

test('a StatefulSet and a claim of a volume are refused, each document of a file is read', () => {
  assert.equal(valuesOf(`${deployment('x:1')}\n---\nkind: StatefulSet\nmetadata: {name: a}\n---\nkind: PersistentVolumeClaim\nmetadata: {name: b}`),
    ['StatefulSet', 'PersistentVolumeClaim'])
})

test.run()
