import { spawnSync } from 'node:child_process'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Host } from '../../../lib/input/inventory.mts'
import { defaultSettings } from '../../../lib/input/settings.mts'
import { hasItsVolumes, mayRunAtItsVolumes } from '../../../lib/monitoring/volumes.mts'
import type { Ssh } from '../../../lib/reach/ssh.mts'
import { fakeKubectl } from '../../support/fake-kubectl.mts'

const volume = (claim: string, node: string, namespace = 'monitoring', phase = 'Bound') => ({
  status: { phase },
  spec: {
    claimRef: { namespace, name: claim }, local: { path: `/storage/${claim}` },
    nodeAffinity: { required: { nodeSelectorTerms: [{ matchExpressions: [{ key: 'kubernetes.io/hostname', values: [node] }] }] } }
  }
})
const volumes = [volume('data-prometheus-0', 'k3s-worker-04'), volume('data-prometheus-1', 'k3s-worker-05'), volume('data', 'k3s-worker-05', 'shop')]
let items = volumes

/** Nodes on which these folders are gone, or that do not answer. */
const step = (gone: string[], { away = [], sick = [], mounted = false }: { away?: string[]; sick?: string[]; mounted?: boolean } = {}) => {
  const settings = defaultSettings()
  settings.addons.volumes.mounted = mounted
  const commands: string[] = []
  const asked: string[] = []
  const kubectl = fakeKubectl((command) => {
    commands.push(command)
    return command === 'get pv -o json' ? JSON.stringify({ items }) : ''
  })
  const capture: Ssh['capture'] = async ({ name }, shell) => {
    asked.push(`${name} ${shell}`)
    if (away.includes(name)) throw new Error('unreachable')
    return gone.some((path) => shell.includes(path)) ? 'gone\n' : ''
  }
  const hosts = ['k3s-worker-04', 'k3s-worker-05'].map((name) => ({ name }) as Host)
  return { ...hasItsVolumes({ kubectl, ssh: { capture } as Ssh, hosts, sick: () => sick, settings }), commands, asked }
}

test('volumes that are there hold, and those of others are not looked at', async () => {
  const { check, asked } = step([])
  assert.is(await check(), '')
  assert.equal(asked, ['k3s-worker-04 [[ -d /storage/data-prometheus-0 ]] || echo gone', 'k3s-worker-05 [[ -d /storage/data-prometheus-1 ]] || echo gone'])
})

test('a volume that is gone with its node is told, and its claim and its pod go', async () => {
  const { check, change, commands } = step(['/storage/data-prometheus-1'])
  assert.is(await check(), 'data-prometheus-1 is gone: k3s-worker-05 was made anew')
  await change!()
  assert.equal(commands.slice(2), [
    '-n monitoring delete pvc data-prometheus-1 --wait=false', '-n monitoring delete pod prometheus-1 --ignore-not-found --force --grace-period=0'
  ])
})

test('the volume of a claim that was given up is not looked at: a new claim of its name is on another node', async () => {
  items = [volume('data-prometheus-0', 'k3s-worker-04', 'monitoring', 'Released'), volume('data-prometheus-0', 'k3s-worker-05')]
  const { check, asked } = step([])
  assert.is(await check(), '')
  assert.equal(asked, ['k3s-worker-05 [[ -d /storage/data-prometheus-0 ]] || echo gone'])
  items = volumes
})

test('a volume whose node is not, or no more, in the pools of the monitoring is told, with both ways out', async () => {
  const hosts = [['k3s-worker-04', 'general'], ['k3s-worker-05', 'reserve']].map(([name, pool]) => ({ name, pool }) as Host)
  const kubectl = fakeKubectl(() => JSON.stringify({ items: [...volumes, volume('data-prometheus-2', 'k3s-worker-09'), volume('data-alertmanager-1', 'k3s-worker-09')] }))
  const settings = defaultSettings()
  const words = await mayRunAtItsVolumes({ kubectl, hosts, settings }).check()
  assert.match(words, /^data-prometheus-0 is on k3s-worker-04, which is not in monitoring\.pools \(observability, reserve\)\. Put that back, or .*:\nkubectl -n monitoring delete pvc data-prometheus-0 --wait=false; kubectl -n monitoring delete pod prometheus-0\ndata-alertmanager-1 is on k3s-worker-09, .*\nkubectl .*$/)
  settings.monitoring.pools = ['general', 'reserve']
  assert.match(await mayRunAtItsVolumes({ kubectl, hosts, settings }).check(), /^data-alertmanager-1 [^\n]*\n[^\n]*$/)
})

test('a node that does not answer, or is known to be sick, is left alone', async () => {
  assert.is(await step(['/storage/data-prometheus-1'], { away: ['k3s-worker-05'] }).check(), '')
  const { check, asked } = step(['/storage/data-prometheus-1'], { sick: ['k3s-worker-05'] })
  assert.is(await check(), '')
  assert.is(asked.length, 1)
})

test('where the settings ask for a data volume, one that is not mounted is not taken for a lost one', async () => {
  const { check, asked } = step([], { mounted: true })
  await check()
  const shell = asked[0]!.replace('k3s-worker-04 ', '')
  for (const [disk, said] of [['/', ''], ['/var/lib/rancher', 'gone']] as const) {
    const { status, stdout } = spawnSync('bash', ['-c', `set -euo pipefail\nfindmnt() { echo ${disk}; }\n${shell}`], { encoding: 'utf8' })
    assert.equal([status, stdout.trim()], [0, said])
  }
})

test.run()
