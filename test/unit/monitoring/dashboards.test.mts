import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { filesIn } from '../../../lib/monitoring/files.mts'
import { hasDashboards } from '../../../lib/monitoring/dashboards.mts'
import { fakeKubectl } from '../../support/fake-kubectl.mts'
import { commands, onNode } from '../../support/node-shell.mts'

test('each file is a ConfigMap of its own, the same by hand', async () => {
  let sent = ''
  const files = await filesIn('dashboards', '.json')
  const step = hasDashboards(fakeKubectl((_, { input = '' }) => {
    sent = input
    return ''
  }), files)
  assert.is(await step.check(), '')
  const names = [...sent.matchAll(/^ {2}name: (\S+)$/gm)].map(([, name]) => name)
  assert.equal(names, Object.keys(files).map((file) => `dashboards-${file.replace('.json', '')}`))
  const kubectl = commands({ kubectl: 'case "$*" in *"create configmap"*) echo "$5" >&2;; *) cat >/dev/null;; esac' })
  const root = new URL('../../..', import.meta.url).pathname
  assert.equal(onNode(`cd ${root}\n${step.byHand}`, { path: [kubectl] }).stderr.trim().split('\n').toSorted(), names.toSorted())
})

test.run()
