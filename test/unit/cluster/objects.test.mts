import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { parseAllDocuments } from 'yaml'
import { fill } from '../../../lib/cluster/objects.mts'

test('placeholders are filled in, and nothing else of the form is touched', () => {
  assert.is(fill('a: ${ONE}\nb: "${TWO} ${ONE}"\nc: $host $(POD_NAME) ${lower}', { ONE: 1, TWO: 'x' }, 'm.yaml'),
    'a: 1\nb: "x 1"\nc: $host $(POD_NAME) ${lower}')
})

test('a value may hold what a replacement would take for a pattern', () => {
  assert.is(fill('${A}', { A: '$& $1 ${A}' }, 'm.yaml'), '$& $1 ${A}')
})

test('a placeholder without a value and a value without a placeholder are errors', () => {
  assert.throws(() => fill('${ONE}', {}, 'm.yaml'), 'm.yaml has a placeholder ${ONE} that nothing fills')
  assert.throws(() => fill('', { ONE: 1, TWO: 2 }, 'm.yaml'), 'm.yaml has no placeholder for ONE, TWO')
})

const folder = join(import.meta.dirname, '../../../manifests')

for (const file of readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.yaml')))
  test(`${file} is YAML of Kubernetes objects, with placeholders as with values`, () => {
    const documents = parseAllDocuments(readFileSync(join(folder, file), 'utf8'))
    for (const document of documents) {
      assert.equal(document.errors, [])
      const { apiVersion, kind } = document.toJS() as Record<string, unknown>
      assert.ok(apiVersion && kind, `${String(kind)} ${String(apiVersion)}`)
    }
  })

test('the ingress is a DaemonSet in the network of the node, one pod at a time: never a Deployment', () => {
  const texts = readdirSync(join(folder, '05_ingress')).map((file) => readFileSync(join(folder, '05_ingress', file), 'utf8'))
  const objects = texts.flatMap((text) => parseAllDocuments(text)).map((document) => document.toJS() as { kind: string })
  assert.not.ok(objects.some(({ kind }) => kind === 'Deployment'))
  const daemons = objects.filter(({ kind }) => kind === 'DaemonSet') as unknown as {
    spec: { updateStrategy: object; template: { spec: { hostNetwork: boolean; tolerations: object[] } } }
  }[]
  assert.is(daemons.length, 1)
  const { updateStrategy, template } = daemons[0]!.spec
  assert.equal(updateStrategy, { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: 1, maxSurge: 0 } })
  assert.is(template.spec.hostNetwork, true)
  assert.equal(template.spec.tolerations, [{ operator: 'Exists' }])
})

test.run()
