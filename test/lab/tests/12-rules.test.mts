// The alerts of the monitoring, by the promtool of the Prometheus that the lab runs: each fires where it must and not elsewhere, and
// on a healthy cluster none does.
import { spawnSync } from 'node:child_process'
import { existsSync, globSync } from 'node:fs'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { cache, project } from '../place.mts'
import { test } from './timed.mts'

const promtool = join(cache, 'monitoring/bin/promtool')

const run = (...args: string[]): string => {
  if (!existsSync(promtool)) throw new Error(`${promtool} is not there. Hint: npm run lab -- up builds it`)
  const { status, stdout, stderr } = spawnSync(promtool, args, { cwd: project, encoding: 'utf8' })
  assert.is(status, 0, `${stdout}${stderr}`)
  return stdout
}

test('Prometheus takes the rules', async () => {
  const files = globSync('manifests/07_monitoring/rules/*.yaml', { cwd: project })
  assert.ok(files.length > 10)
  run('check', 'rules', '--lint=all', '--lint-fatal', ...files)
})

test('each alert fires where it must, and nothing fires on a healthy cluster', async () => {
  run('test', 'rules', ...globSync('test/rules/*.yaml', { cwd: project }).toSorted())
})

test.run()
