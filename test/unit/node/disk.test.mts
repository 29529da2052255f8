import { mkdirSync, mkdtempSync, readdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { defaultSettings } from '../../../lib/input/settings.mts'
import { isLargeEnough, writesDurably } from '../../../lib/node/disk.mts'
import { hostOf } from '../../support/hosts.mts'
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

// A machine with so many GiB free, on which K3s has run already or not.
const large = (free: number, { used = false, disk = 20, cpus = 8 } = {}): string => {
  const settings = defaultSettings()
  settings.prepare.agent = { cpus: 2, memory: 0.1, disk }
  const check = isLargeEnough(hostOf('k3s-worker-01'), settings).check as string
  const path = [commands({ nproc: `echo ${cpus}`, df: `echo Avail; echo ${free * 2 ** 20}` })]
  return onNode(check.replaceAll('/var/lib/rancher/k3s/agent/containerd', used ? folder : '/nowhere'), { path }).stdout
}

test('a new node must have the room of the settings', () => {
  assert.is(large(20), '')
  assert.is(large(19.5), 'has 19.5 GiB free under /var/lib, expected 20')
  assert.is(large(20, { cpus: 1 }), 'has 1 CPUs')
})

test('a node that K3s has used already needs far less, and that is said', () => {
  const said = '= K3s is here already: 5 GiB of free disk are enough'
  assert.is(large(6, { used: true }), said)
  assert.is(large(4.5, { used: true }), `${said}\nhas 4.5 GiB free under /var/lib, expected 5`)
  assert.is(large(2, { used: true, disk: 1 }), said.replace('5', '1'), 'never more than a new one')
})

test('nothing is left of the measuring', () => {
  assert.equal(readdirSync(join(folder, 'rancher')), [])
})

test('once etcd runs the disk is left to it', () => {
  assert.equal(says(0.000_001, 'active'), { stdout: '', stderr: '', code: 0 })
})

test.run()
