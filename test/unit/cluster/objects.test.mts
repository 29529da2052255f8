import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { parseAllDocuments } from 'yaml'
import { documents, fill, manifestStep, meaningOf, readManifest, withObjects } from '../../../lib/cluster/objects.mts'
import { KubectlError } from '../../../lib/reach/kubectl.mts'
import { fakeKubectl } from '../../support/fake-kubectl.mts'

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

// What goes into ConfigMaps is no object itself.
const isObject = (name: string): boolean => !/^07_monitoring\/(rules\/|alertmanager\/inhibit|prometheus\/settings)/.test(name)

for (const file of readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.yaml') && isObject(name)))
  test(`${file} is YAML of Kubernetes objects, whatever its placeholders are`, () => {
    const documents = parseAllDocuments(readFileSync(join(folder, file), 'utf8').replaceAll(/\$\{[A-Z_]+\}/g, '0'))
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

test('a manifest is read by its name, and what does not fit is told with it', async () => {
  assert.match(await readManifest('04_addons/dns.yaml', { NAMESERVERS: '9.9.9.9', REPLICAS: 3 }), /9\.9\.9\.9/)
  await readManifest('04_addons/dns.yaml', { REPLICAS: 3 }).then(() => assert.unreachable(), (error: Error) => {
    assert.is(error.message, 'manifests/04_addons/dns.yaml has a placeholder ${NAMESERVERS} that nothing fills')
  })
})

const manifest = 'kind: Namespace'
const { signal } = new AbortController()

const diffed = (exitCode: number, message: string, stdout = '') => {
  const inputs: (string | undefined)[] = []
  const kubectl = fakeKubectl((command, { input }) => {
    inputs.push(input)
    if (command.startsWith('diff')) throw new KubectlError(message, { exitCode, stdout })
    return ''
  })
  return { step: manifestStep(kubectl, 'has its objects', manifest), inputs }
}

const differences = `diff -u -N /tmp/LIVE-1/apps.v1.DaemonSet.keybuzz-ingress.nginx /tmp/MERGED-2/apps.v1.DaemonSet.keybuzz-ingress.nginx
--- /tmp/LIVE-1/apps.v1.DaemonSet.keybuzz-ingress.nginx
+image: nginx
diff -u -N /tmp/LIVE-1/v1.Namespace..keybuzz-ingress /tmp/MERGED-2/v1.Namespace..keybuzz-ingress
diff -u -N /tmp/LIVE-1/rbac.authorization.k8s.io.v1.ClusterRole..a.b /tmp/MERGED-2/rbac.authorization.k8s.io.v1.ClusterRole..a.b
`

test('objects that differ are told by kind, namespace and name', async () => {
  const { step, inputs } = diffed(1, 'exit status 1', differences)
  assert.is(await step.check(),
    'missing or different: DaemonSet keybuzz-ingress/nginx, Namespace keybuzz-ingress, ClusterRole a.b')
  assert.equal(inputs, [manifest])
})

test('objects that are the same, and a namespace that is not there yet', async () => {
  assert.is(await manifestStep(fakeKubectl(() => ''), 'x', manifest).check(), '')
  assert.is(await diffed(1, 'Error from server (NotFound): namespaces "keybuzz-ingress" not found').step.check(), 'is missing')
})

test('a diff that could not be made is no difference', async () => {
  for (const { step } of [diffed(1, 'the API does not answer'), diffed(2, 'no', differences)])
    await step.check().then(() => assert.unreachable(), (error: Error) => assert.instance(error, KubectlError))
})

test('a change applies the manifest, and by hand the same file is looked at and applied', async () => {
  const { step, inputs } = diffed(1, '')
  await step.change!()
  assert.equal(inputs, [manifest])
  assert.is(step.look, `cat > has-its-objects.yaml <<'END'
kind: Namespace
END
kubectl diff --server-side --force-conflicts -f has-its-objects.yaml`)
  assert.is(step.byHand, 'kubectl apply --server-side --force-conflicts -f has-its-objects.yaml')
})

test('objects are there while they are used, and removed when that ends', async () => {
  const asked: string[] = []
  const kubectl = fakeKubectl((command, { input }) => {
    asked.push(`${command.split(' ')[0]} ${input}`)
    return ''
  })
  const used = await withObjects({ kubectl, manifest, signal }, async () => asked.length)
  assert.is(used, 1)
  assert.equal(asked, [`apply ${manifest}`, `delete ${manifest}`])
})

test('a namespace of an earlier run that is still being removed is waited for', async () => {
  const asked: string[] = []
  const kubectl = fakeKubectl((command) => {
    asked.push(command.split(' ')[0]!)
    if (asked.length === 1) throw new Error('... forbidden: ... in namespace trial because it is being terminated')
    return ''
  })
  assert.is(await withObjects({ kubectl, manifest, signal }, async () => 'used'), 'used')
  assert.equal(asked, ['apply', 'apply', 'delete'])
})

test('whatever else is refused is told at once, and what was made until then is removed', async () => {
  const asked: string[] = []
  const kubectl = fakeKubectl((command) => {
    asked.push(command.split(' ')[0]!)
    if (asked.at(-1) === 'apply') throw new Error('exceeded quota')
    return ''
  })
  await withObjects({ kubectl, manifest, signal }, async () => assert.unreachable()).then(() => assert.unreachable(), (error: Error) => {
    assert.is(error.message, 'exceeded quota')
  })
  assert.equal(asked, ['apply', 'delete'])
})

test('where the run is interrupted the objects are removed all the same, by a signal of their own', async () => {
  const interrupt = new AbortController()
  const signals: (boolean | undefined)[] = []
  const kubectl = fakeKubectl((command, options) => {
    if (command.startsWith('delete')) signals.push(options.signal?.aborted)
    return ''
  })
  const use = async (): Promise<never> => {
    interrupt.abort()
    throw interrupt.signal.reason
  }
  await withObjects({ kubectl, manifest, signal: interrupt.signal }, use).then(() => assert.unreachable(), (error: Error) => {
    assert.is(error.name, 'AbortError')
  })
  assert.equal(signals, [false])
})

test('a manifest says the same with another comment or layout, and something else with another value', () => {
  const text = documents(['# why\nkind: A\nspec: {port: 80}\n', 'kind: B\n'])
  assert.is(text, '# why\nkind: A\nspec: {port: 80}\n---\nkind: B')
  assert.is(meaningOf(text), meaningOf('kind: A\nspec:\n  port: 80 # the same\n---\nkind: B'))
  assert.is.not(meaningOf(text), meaningOf(text.replace('80', '81')))
})

test.run()
