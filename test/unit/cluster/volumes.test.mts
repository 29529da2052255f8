import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { keepsVolumes, volumesOutlivePods } from '../../../lib/cluster/volumes.mts'
import { defaultSettings } from '../../../lib/input/settings.mts'
import { fakeKubectl } from '../../support/fake-kubectl.mts'
import { unreadable } from '../../support/node-shell.mts'

const settings = defaultSettings()
const { signal } = new AbortController()

const storage = (classes: Record<string, boolean>, paths: string[]): Promise<string> => keepsVolumes({
  settings,
  kubectl: fakeKubectl((command) => {
    if (command === 'get storageclass -o json') return JSON.stringify({
      items: Object.entries(classes).map(([name, isDefault]) => ({
        metadata: { name, annotations: { 'storageclass.kubernetes.io/is-default-class': String(isDefault) } }
      }))
    })
    assert.is(command, "-n kube-system get configmap local-path-config -o 'jsonpath={.data.config\\.json}'")
    return JSON.stringify({ nodePathMap: [{ node: 'DEFAULT_PATH_FOR_NON_LISTED_NODES', paths }] })
  })
}).check()

test('local-path alone is the default, in the folder of the settings', async () => {
  assert.is(await storage({ 'local-path': true, other: false }, [settings.addons.volumes.path]), '')
})

test('another default beside it, none, and another folder are told', async () => {
  const here = [settings.addons.volumes.path]
  assert.is(await storage({ 'local-path': true, other: true }, here), 'default StorageClasses: local-path, other; expected local-path alone')
  assert.is(await storage({ 'local-path': false }, here), 'default StorageClasses: none; expected local-path alone')
  assert.is(await storage({ 'local-path': true }, ['/mnt/a', '/mnt/b']), 'its folder is /mnt/a, /mnt/b')
})

/**
 * A cluster in which the trial's pod runs; `keeps` says what the volume still has for the next pod. That one is seen
 * `looks` times before it is ready, while the Deployment still tells of the first.
 */
const trial = (keeps: (written: string) => string, looks = 0) => {
  const asked: string[] = []
  let deleted = false
  let starting = looks
  let volume = ''
  const kubectl = fakeKubectl((command) => {
    asked.push(command)
    if (command.includes('echo')) volume = /echo (\S+) >/.exec(command)![1]!
    if (command.includes('cat /data/written') && starting > 0) throw new Error('container not found ("trial")')
    if (command.includes('cat /data/written')) return `${keeps(volume)}\n`
    if (command.includes('delete pod')) deleted = true
    if (command.includes('get pods') && command.includes('jsonpath')) return 'trial-1'
    if (command.includes('get pods')) return JSON.stringify({ items: [{
      metadata: { name: 'trial-1', namespace: 'keybuzz-volume-trial' }, spec: { nodeName: 'n1' },
      status: { phase: 'Running', conditions: [{ type: 'Ready', status: deleted && starting-- > 0 ? 'False' : 'True' }] }
    }] })
    if (command.includes('get deployment')) return JSON.stringify({
      metadata: { generation: 1 }, spec: { replicas: 1, selector: { matchLabels: { app: 'trial' } } },
      status: { observedGeneration: 1, replicas: 1, updatedReplicas: 1, availableReplicas: 1 }
    })
    return ''
  })
  return { asked, step: volumesOutlivePods({ kubectl, signal }, 'rancher/mirrored-library-busybox:1.99') }
}

test('what one pod has written the next one reads, and all is removed again', async () => {
  const { asked, step } = trial((written) => written, 2)
  assert.is(step.trial, true)
  assert.is(await step.check(), '')
  const changing = asked.filter((command) => /(^| )(apply|exec|delete) /.test(command))
    .map((command) => command.replace(/^-n keybuzz-volume-trial /, '').split(' ').slice(0, 3).join(' '))
  assert.equal(changing, ['apply --server-side --force-conflicts', 'exec deploy/trial --', 'delete pod trial-1', 'exec deploy/trial --', 'delete --ignore-not-found --wait=false'])
})

test('a volume that has lost what was written is told with both', async () => {
  assert.match(await trial(() => '').step.check(), /^the second pod read nothing; the first had written 2\d{3}-\d\d-\d\dT/)
  assert.match(await trial(() => 'another time').step.check(), /^the second pod read another time; /)
})

test('by hand the trial is shell that bash can read, and it is removed at its end', () => {
  const { look } = trial(() => '').step
  assert.is(unreadable(look), '')
  assert.match(look, /delete namespace keybuzz-volume-trial$/)
  const shell = `sleep() { :; }
kubectl() { if [[ $* == 'apply -f -' ]]; then cat; else echo "kubectl $*"; fi; }\n${look}`
  const { stdout, stderr } = spawnSync('bash', ['-c', shell], { cwd: join(import.meta.dirname, '../../..'), encoding: 'utf8' })
  assert.is(stderr, '')
  assert.match(stdout, /^ {2}name: keybuzz-volume-trial$/m)
  assert.match(stdout, /^ +image: rancher\/mirrored-library-busybox:1\.99$/m)
  assert.not.match(stdout, /\$\{/)
  assert.match(stdout, /kubectl -n keybuzz-volume-trial exec deploy\/trial -- cat \/data\/written\n/)
})

test.run()
