import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { hasSysctls, keepsSysctls } from '../../../lib/node/sysctls.mts'
import { commands, onNode } from '../../support/node-shell.mts'

const root = mkdtempSync(join(tmpdir(), 'keybuzz-sysctl-'))
const isEnabled = (state: string): string => commands({ systemctl: `echo ${state}` })

// What is told of a node that has these files. null is a link to /dev/null.
const told = (files: Record<string, string | null>, unit = 'static'): string[] => {
  rmSync(root, { recursive: true, force: true })
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(join(root, dirname(path)), { recursive: true })
    if (text === null) symlinkSync('/dev/null', join(root, path))
    else if (text.startsWith('-> ')) symlinkSync(text.slice(3), join(root, path))
    else writeFileSync(join(root, path), text)
  }
  const check = String(keepsSysctls.check)
    .replace('{/lib,/usr/lib,/usr/local/lib,/run,/etc}', `{${['lib', 'usr/lib', 'usr/local/lib', 'run', 'etc'].map((at) => join(root, at)).join()}}`)
    .replace('/etc/default/ufw', join(root, 'etc/default/ufw'))
  assert.not.match(check, / \/etc\//)
  const { stdout, stderr, code } = onNode(check, { path: [isEnabled(unit)] })
  assert.equal([stderr, code], ['', 0])
  return stdout.split('\n').filter(Boolean).map((line) => line.replace(`${root}/`, '/'))
}

const hardening = '/etc/sysctl.d/99-hardening.conf'

test('the file that wins at the next boot is named, with the key and both values', () => {
  assert.equal(told({ [hardening]: '# CIS\nvm.overcommit_memory=2\n' }), [`${hardening} sets vm.overcommit_memory = 2, expected 1`])
  assert.equal(told({}), [])
  assert.equal(told({ [hardening]: 'vm.overcommit_memory = 1\nvm.swappiness = 1\n' }), [])
})

test('a file that comes before ours does not win; the last one after it does', () => {
  const two = 'vm.overcommit_memory=2\n'
  assert.equal(told({ '/etc/sysctl.d/10-a.conf': two, '/etc/sysctl.d/90-a.conf': two, '/usr/lib/sysctl.d/50-b.conf': two }), [])
  assert.equal(told({ '/etc/sysctl.d/90-keybuzz-k3s.conf': two }), [])
  assert.equal(told({ '/etc/sysctl.d/90-l.conf': two }), ['/etc/sysctl.d/90-l.conf sets vm.overcommit_memory = 2, expected 1'])
  assert.equal(told({ [hardening]: two, '/usr/lib/sysctl.d/99-z.conf': 'vm.overcommit_memory=1' }), [])
  assert.equal(told({ [hardening]: two, '/usr/lib/sysctl.d/99-z.conf': 'vm.overcommit_memory=0' }), [
    '/usr/lib/sysctl.d/99-z.conf sets vm.overcommit_memory = 0, expected 1'
  ])
  assert.equal(told({ [hardening]: 'vm.overcommit_memory=1\nvm.overcommit_memory=2' }), [`${hardening} sets vm.overcommit_memory = 2, expected 1`])
})

test('of two files with one name the one in /etc counts, also where it masks', () => {
  const name = '99-vendor.conf'
  const two = 'kernel.panic=0\n'
  assert.equal(told({ [`/usr/lib/sysctl.d/${name}`]: two, [`/etc/sysctl.d/${name}`]: null }), [])
  assert.equal(told({ [`/usr/lib/sysctl.d/${name}`]: two, [`/run/sysctl.d/${name}`]: 'kernel.panic=10' }), [])
  assert.equal(told({ [`/usr/lib/sysctl.d/${name}`]: 'kernel.panic=10', [`/usr/local/lib/sysctl.d/${name}`]: two }), [
    `/usr/local/lib/sysctl.d/${name} sets kernel.panic = 0, expected 10`
  ])
})

test('a link is named by what it leads to, as Debian does with /etc/sysctl.conf', () => {
  assert.equal(told({ '/etc/sysctl.conf': 'net.ipv4.ip_forward=0', '/etc/sysctl.d/99-sysctl.conf': '-> ../sysctl.conf' }), [
    '/etc/sysctl.conf sets net.ipv4.ip_forward = 0, expected 1'
  ])
  assert.equal(told({ '/etc/sysctl.conf': 'net.ipv4.ip_forward=0' }), [], 'systemd-sysctl does not read it without the link')
})

test('keys are read as systemd reads them: slashes, blanks, a dash before, other names', () => {
  for (const line of ['net/ipv4/ip_forward=0', '-net.ipv4.ip_forward=0', '  net.ipv4.ip_forward \t=\t0  ', 'net.ipv4.conf.all.forwarding=0', 'net.ipv4.ip_forward=0\r']) {
    assert.equal(told({ [hardening]: `${line}\n` }), [`${hardening} sets net.ipv4.ip_forward = 0, expected 1`], line)
  }
  assert.equal(told({ [hardening]: 'net/bridge/bridge-nf-call-iptables=0' }), [`${hardening} sets net.bridge.bridge-nf-call-iptables = 0, expected 1`])
  assert.equal(told({ [hardening]: '-vm.overcommit_memory\n' }), [`${hardening} leaves vm.overcommit_memory unset, expected 1`])
  assert.equal(told({ [hardening]: '; vm.overcommit_memory=2\n#vm.overcommit_memory=2\nvm.overcommit_memory\n' }), [])
  // A pattern never wins over a key that a file names, and ours names them all.
  assert.equal(told({ [hardening]: 'net.bridge.bridge-nf-call-*=0\n' }), [])
})

test('a limit may be higher, not lower', () => {
  assert.equal(told({ [hardening]: 'fs.inotify.max_user_watches=2097152\nnet.netfilter.nf_conntrack_max=65536' }), [
    `${hardening} sets net.netfilter.nf_conntrack_max = 65536, expected 1048576`
  ])
})

test("ufw's own file is loaded whenever ufw starts", () => {
  const ufw = (quote: string) => ({
    '/etc/default/ufw': `IPV6=yes\nIPT_SYSCTL=${quote}${root}/etc/ufw/sysctl.conf${quote}\n`, '/etc/ufw/sysctl.conf': 'net/ipv4/ip_forward=0\n'
  })
  for (const quote of ['', '"']) assert.equal(told(ufw(quote)), ['/etc/ufw/sysctl.conf sets net.ipv4.ip_forward = 0, expected 1'])
  assert.equal(told({ '/etc/default/ufw': 'IPT_SYSCTL=\n' }), [])
})

test('a masked systemd-sysctl sets nothing', () => {
  assert.equal(told({}, 'masked'), ['systemd-sysctl.service is masked, so no file sets them'])
})

test('the file of ours sets what is checked', () => {
  const [file, now] = hasSysctls
  for (const line of ['vm.overcommit_memory = 1', 'kernel.panic = 10', 'net.ipv4.ip_forward = 1']) assert.ok(String(file?.change).includes(`\n${line}\n`))
  assert.match(String(now?.check), / vm\.overcommit_memory=1 /)
  assert.is(now?.change, 'sysctl --quiet --load /etc/sysctl.d/90-keybuzz-k3s.conf')
})

test.run()
