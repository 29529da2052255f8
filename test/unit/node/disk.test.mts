import { mkdirSync, mkdtempSync, readdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { defaultSettings } from '../../../lib/input/settings.mts'
import { writesDurably } from '../../../lib/node/disk.mts'
import { commands, onNode } from '../../support/node-shell.mts'

const step = (milliseconds: number) => {
  const settings = defaultSettings()
  settings.prepare.etcd_fsync_p99 = milliseconds
  return writesDurably(settings)
}
const folder = mkdtempSync(join(tmpdir(), 'keybuzz-disk-'))
mkdirSync(join(folder, 'rancher'))
const says = (milliseconds: number, k3s: 'active' | 'inactive') =>
  onNode((step(milliseconds).check as string).replaceAll('/var/lib', folder), {
    path: [commands({ systemctl: `[[ "$*" == 'is-active --quiet k3s' && ${k3s} == active ]]` })]
  })

test('a disk is measured against the bound of the settings', () => {
  assert.is(step(25).name, 'writes durably in under 25 ms')
  assert.equal(says(60_000, 'inactive'), { stdout: '', stderr: '', code: 0 })
  assert.match(says(0.000_001, 'inactive').stdout, /^p99 of fdatasync is \d+\.\d ms$/)
})

test('nothing is left of the measuring', () => {
  assert.equal(readdirSync(join(folder, 'rancher')), [])
})

test('once etcd runs the disk is left to it', () => {
  assert.equal(says(0.000_001, 'active'), { stdout: '', stderr: '', code: 0 })
})

test.run()
