import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { prepare } from '../../../09_k3s_01_prepare.mts'
import { defaultSettings, type Settings } from '../../../lib/input/settings.mts'
import { bootsWithoutSwap, hasCgroup2, hasModules, hasNoOtherFirewall, isCalled, mayLoadModules } from '../../../lib/node/boot.mts'
import { renderRunbook } from '../../../lib/run/runbook.mts'
import type { NodeStep } from '../../../lib/run/step.mts'
import { hostOf } from '../../support/hosts.mts'
import { commands, onNode } from '../../support/node-shell.mts'

const root = mkdtempSync(join(tmpdir(), 'keybuzz-boot-'))

type Node = { files?: Record<string, string>; programs?: Record<string, string> }

// What a check tells of a node with these files, where these programs print this.
const told = (step: NodeStep, { files = {}, programs = {} }: Node = {}, shell: unknown = step.check): string[] => {
  rmSync(root, { recursive: true, force: true })
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(join(root, dirname(path)), { recursive: true })
    writeFileSync(join(root, path), text)
  }
  const here = String(shell)
    .replaceAll('{/etc,/run,/usr/local/lib,/usr/lib,/lib}', `${root}/{etc,run,usr/local/lib,usr/lib,lib}`)
    .replaceAll(/(?<![\w}/])\/(etc|boot)\//g, `${root}/$1/`)
  const { stdout, stderr, code } = onNode(here, { path: [commands(programs)] })
  assert.equal([stderr, code], ['', 0])
  return stdout.replaceAll(root, '').split('\n').filter(Boolean)
}

test('a host is called what servers.tsv says, now and after a boot', () => {
  const step = isCalled(hostOf('w-1'))
  const hostname = (name: string) => ({ hostname: `echo ${name}` })
  assert.equal(told(step, { files: { '/etc/hostname': '# ours\nw-1\n' }, programs: hostname('w-1') }), [])
  assert.equal(told(step, { files: { '/etc/hostname': 'ubuntu-8gb\n' }, programs: hostname('w-1') }), [
    '/etc/hostname says ubuntu-8gb, which counts from the next boot on'
  ])
  assert.equal(told(step, { programs: hostname('w-1') }), ['/etc/hostname says nothing, which counts from the next boot on'])
  assert.equal(told(step, { files: { '/etc/hostname': 'w-1' }, programs: hostname('w-2') }), ['calls itself w-2'])
})

const k3s = (more: Partial<Settings['k3s']>): Pick<Settings, 'k3s'> => ({ k3s: { ...defaultSettings().k3s, ...more } })
const fs = (kind: string): Node => ({ programs: { stat: `echo ${kind}` } })

test('cgroup v1 is refused, for the kubelet does not start with it', () => {
  const step = hasCgroup2(k3s({ version: 'v1.36.5+k3s1' }))
  assert.equal(told(step, fs('cgroup2fs')), [])
  assert.equal(told(step, fs('tmpfs')), ['has cgroup v1, and the kubelet of v1.36.5+k3s1 does not start with it'])
  assert.match(step.hint!, /systemd\.unified_cgroup_hierarchy.*reboot/)
})

test('cgroup v1 is evidence where the kubelet is told to take it, or is older than 1.35', () => {
  const allowed = hasCgroup2(k3s({ kubelet_args: ['fail-cgroupv1=false'] }))
  assert.equal(told(allowed, fs('tmpfs')), ['= has cgroup v1, and k3s.kubelet_args allows it'])
  assert.equal(told(allowed, fs('cgroup2fs')), [])
  assert.equal(told(hasCgroup2(k3s({ version: 'v1.34.9+k3s1' })), fs('tmpfs')), ['= has cgroup v1, and K3s v1.34.9+k3s1 runs with it'])
  assert.is(told(hasCgroup2(k3s({ kubelet_args: ['fail-cgroupv1=true'] })), fs('tmpfs')).length, 1)
})

test('cgroup v1 that only the next boot brings is told', () => {
  const files = {
    '/etc/default/grub': 'GRUB_CMDLINE_LINUX="quiet systemd.unified_cgroup_hierarchy=0"\n',
    '/etc/default/grub.d/50-cloud.cfg': '# systemd.unified_cgroup_hierarchy=0\nGRUB_CMDLINE_LINUX="systemd.unified_cgroup_hierarchy=1"\n',
    '/boot/grub/grub.cfg': '\tlinux /vmlinuz root=/dev/sda1 systemd.unified_cgroup_hierarchy=false\n'
  }
  assert.equal(told(hasCgroup2(k3s({})), { files, ...fs('cgroup2fs') }), [
    '/boot/grub/grub.cfg asks for cgroup v1, so the next boot brings it', '/etc/default/grub asks for cgroup v1, so the next boot brings it'
  ])
})

const modprobe = (config: string, builtin = '') => ({
  systemctl: 'echo static',
  modprobe: `[[ $* == --showconfig ]] && printf '%b' '${config}'`,
  modinfo: `if [[ "$*" == '-F filename ${builtin}' ]]; then echo '(builtin)'; else echo "/lib/modules/x/$3.ko"; fi`
})

test('a module that a file keeps out of the next boot is named, with the file', () => {
  assert.equal(told(mayLoadModules, {
    files: { '/etc/modprobe.d/cis.conf': 'blacklist squashfs\n  install overlay /bin/false\n', '/usr/lib/modprobe.d/net.conf': 'blacklist br-netfilter\n' },
    programs: modprobe('blacklist squashfs\\nblacklist br_netfilter\\ninstall overlay /bin/false\\n')
  }), ['/usr/lib/modprobe.d/net.conf says: blacklist br_netfilter', '/etc/modprobe.d/cis.conf says: install overlay'])
  assert.equal(told(mayLoadModules, { programs: modprobe('blacklist vxlan\\n') }), ['the kernel command line says: blacklist vxlan'])
})

test('a module that is built in, or that a command still loads, is not kept out', () => {
  assert.equal(told(mayLoadModules, { programs: modprobe('blacklist overlay\\n', 'overlay') }), [])
  assert.equal(told(mayLoadModules, { programs: modprobe('install vxlan /sbin/modprobe --ignore-install vxlan\\nblacklist vxlan2\\n') }), [])
})

test('a masked systemd-modules-load loads nothing', () => {
  assert.equal(told(mayLoadModules, { programs: { ...modprobe(''), systemctl: 'echo masked; exit 1' } }), [
    'systemd-modules-load.service is masked, so no module is loaded at boot'
  ])
})

test('the modules of the file are those that are checked', () => {
  const [file, now] = hasModules
  assert.match(String(file?.change), /\nbr_netfilter\nnf_conntrack\noverlay\nvxlan\n/)
  assert.is(now?.change, 'modprobe --all br_netfilter nf_conntrack overlay vxlan')
})

// systemd that knows swap units: name to `LoadState SourcePath`, and services that are enabled.
const systemd = (units: Record<string, string>, services: string[] = []) => ({
  systemctl: `case "$*" in
'show --property=Requires,Wants --value swap.target') echo; echo '${Object.keys(units).join(' ')}' ;;
${Object.entries(units).map(([unit, state]) => {
    const [load = '', source = ''] = state.split(' ')
    return `'show --property=LoadState --value ${unit}') echo ${load} ;;\n'show --property=SourcePath --value ${unit}') echo '${source}' ;;`
  }).join('\n')}
is-enabled*) case " ${services.join(' ')} " in *" $2 "*) echo enabled ;; *) echo disabled; exit 1 ;; esac ;;
mask*|disable*) echo "systemctl $*" ;;
esac`
})

test('swap that a boot turns on without fstab is told, from wherever it comes', () => {
  assert.equal(told(bootsWithoutSwap, { programs: systemd({}) }), [])
  const units = { 'dev-zram0.swap': 'loaded', 'swapfile.swap': `loaded ${root}/etc/fstab`, 'old.swap': 'masked', 'gone.swap': 'not-found', 'x.target': 'loaded' }
  assert.equal(told(bootsWithoutSwap, { programs: systemd(units, ['zramswap.service']) }), ['dev-zram0.swap', 'zramswap.service'])
})

test('a unit that a generator made is masked, a service or a file of its own is disabled', () => {
  const programs = systemd({ 'dev-zram0.swap': 'loaded', 'data-swap.swap': 'loaded' }, ['dphys-swapfile.service'])
  assert.equal(told(bootsWithoutSwap, { files: { '/etc/systemd/system/data-swap.swap': '' }, programs }, bootsWithoutSwap.change), [
    'systemctl mask dev-zram0.swap', 'systemctl disable --now data-swap.swap', 'systemctl disable --now dphys-swapfile.service'
  ])
})

test('01 makes every swap line of fstab a comment, and no other line', async () => {
  const hosts = [hostOf('w-1')]
  const runbook = await renderRunbook([prepare], {} as never, { hosts, machines: [], chosen: hosts, settings: defaultSettings(), signal: new AbortController().signal })
  const command = runbook.split('\n').find((line) => line.startsWith('sed -i.keybuzz-before'))
  const check = runbook.split('\n').find((line) => line.startsWith('awk') && line.includes('is in /etc/fstab'))
  const fstab = '/a none swap sw 0 0\n\t/b none swap\n# /c none swap sw 0 0\nUUID=1 /swap ext4 defaults 0 1\n'
  assert.equal(told(bootsWithoutSwap, { files: { '/etc/fstab': fstab } }, `${check}\n${command}\n${check}\ncat /etc/fstab`), [
    '/a is in /etc/fstab', '/b is in /etc/fstab',
    '# /a none swap sw 0 0', '# \t/b none swap', '# /c none swap sw 0 0', 'UUID=1 /swap ext4 defaults 0 1'
  ])
})

test('another firewall that a boot starts is named', () => {
  const systemctl = (...units: string[]) => ({ systemctl: `case " ${units.join(' ')} " in *" $2 "*) echo enabled ;; *) echo disabled; exit 1 ;; esac` })
  assert.equal(told(hasNoOtherFirewall, { programs: systemctl() }), [])
  assert.equal(told(hasNoOtherFirewall, { programs: systemctl('netfilter-persistent.service', 'firewalld.service') }), [
    'firewalld.service is enabled', 'netfilter-persistent.service is enabled'
  ])
  const nftables = (text: string) => told(hasNoOtherFirewall, { files: { '/etc/nftables.conf': text }, programs: systemctl('nftables.service') })
  assert.equal(nftables('#!/usr/sbin/nft -f\nflush ruleset\n'), ['nftables.service is enabled'])
  assert.equal(nftables('#!/usr/sbin/nft -f\n# flush ruleset\ntable inet mine {\n}\n'), [])
})

test.run()
