import { spawnSync } from 'node:child_process'
import { chmodSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Host } from '../../../lib/input/inventory.mts'
import { releaseSteps } from '../../../lib/node/k3s.mts'
import { defaultSettings } from '../../../lib/input/settings.mts'

const host: Host = {
  name: 'a', address: '10.0.0.100', publicAddress: '', user: 'root', fqdn: '', role: 'server', stack: '', pool: '', line: 2
}
const file = { file: '/nowhere', sha256: '0' }

const says = (runs: string, wanted: string): string => {
  const folder = mkdtempSync(join(tmpdir(), 'keybuzz-version-'))
  const k3s = join(folder, 'k3s')
  writeFileSync(k3s, `#!/bin/sh\necho 'k3s version ${runs} (abcdef)'\necho go version go1.26\n`)
  chmodSync(k3s, 0o755)
  const settings = defaultSettings()
  settings.k3s.version = wanted
  const [step] = releaseSteps(host, settings, { k3s: file, images: file })
  const script = (step!.check as string).replaceAll('/usr/local/bin/k3s', k3s)
  return spawnSync('bash', ['-s'], { input: `set -euo pipefail\n${script}`, encoding: 'utf8' }).stdout.trim()
}

test('a version may stay, take a patch, or go up one minor', () => {
  assert.is(says('v1.36.5+k3s1', 'v1.36.5+k3s1'), '')
  assert.is(says('v1.36.5+k3s1', 'v1.36.10+k3s1'), '')
  assert.is(says('v1.36.5+k3s1', 'v1.36.5+k3s2'), '')
  assert.is(says('v1.36.5+k3s1', 'v1.37.1+k3s1'), '')
})

test('a version may neither go back nor skip a minor', () => {
  assert.is(says('v1.36.5+k3s1', 'v1.36.3+k3s1'), 'is v1.36.5+k3s1, which is newer')
  assert.is(says('v1.36.5+k3s2', 'v1.36.5+k3s1'), 'is v1.36.5+k3s2, which is newer')
  assert.is(says('v1.36.10+k3s1', 'v1.36.9+k3s1'), 'is v1.36.10+k3s1, which is newer')
  assert.is(says('v1.35.6+k3s1', 'v1.37.1+k3s1'), 'is v1.35.6+k3s1, and no minor version may be skipped')
})

test.run()
