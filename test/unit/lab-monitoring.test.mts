import { readFile } from 'node:fs/promises'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { readSettings } from '../../lib/input/settings.mts'

const root = new URL('../..', import.meta.url).pathname
const build = await readFile(`${root}test/lab/monitoring/build`, 'utf8')
const modules = await readFile(`${root}test/lab/monitoring/go.mod`, 'utf8')

test('the lab builds all images of the monitoring that its settings name, and no other', async () => {
  const { monitoring: own } = await readSettings(`${root}test/lab/settings.yaml`)
  const wanted = [
    own.prometheus, own.alertmanager, own.grafana, own.node_exporter, own.kube_state_metrics, own.blackbox,
    own.postgres.exporter, own.redis.exporter, own.mariadb.exporter
  ].map(({ image }) => image)
  const made = [...build.matchAll(/^image (\S+)/gm)].map(([, name]) => name!)
  assert.equal(made.toSorted(), wanted.toSorted())
})

test('each program tells the version of the module that it is built from', () => {
  const built = [...build.matchAll(/^compile ([a-z][\w.-]+\/\S+) v?(\S+)/gm)].map(([, path, version]) => ({ path: path!, version: version! }))
  assert.is(built.length, 10)
  for (const { path, version } of built) {
    const { module, is } = [...modules.matchAll(/^\t(\S+) v(\S+)$/gm)]
      .map(([, module, is]) => ({ module: module!, is: is! })).find(({ module }) => path.startsWith(module))!
    // Prometheus 3.16.0 is the module's v0.316.0.
    const wanted = module === 'github.com/prometheus/prometheus' ? is.replace(/^0\.(\d)0?(\d+)\./, '$1.$2.') : is
    assert.is(version, wanted, path)
    assert.ok(build.includes(`:v${version} `), path)
  }
})

test.run()
