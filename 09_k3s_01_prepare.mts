#!/usr/bin/env -S sh -c 'exec "$(dirname "$(readlink -f "$0")")/lib/run/start.sh" "$0" "$@"'
// 09_k3s_01  Prepare the nodes
//
// Checks that every K3s node of servers.tsv is fit for K3s, makes what module 2 left as K3s needs it (swap, kernel
// modules, sysctls, resolv.conf, packages, firewall), and proves with packets that the nodes reach one another on
// every port of the cluster and that nobody does from the public side.
//
// Needs:   ssh to every node as USER_SSH, root or with sudo without a password.
// Changes: /etc/fstab, /etc/modules-load.d and /etc/sysctl.d/90-keybuzz-k3s.conf, /etc/resolv.conf (immutable),
//          packages, time synchronisation, ufw rules with the comment "keybuzz-k3s: ...". Docker is left alone.
// Undo:    remove the two files, `chattr -i /etc/resolv.conf`, and each `ufw delete RULE` that `ufw show added` lists
//          with our comment.
// Example: ./09_k3s_01_prepare.mts --plan --hosts k3s-worker-05

import { plural } from './lib/base/words.mts'
import type { Host } from './lib/input/inventory.mts'
import { hasOwnMachineId, hasTimeOfOthers, saysTimeAndId, type Said } from './lib/node/compared.mts'
import { writesDurably } from './lib/node/disk.mts'
import { firewallStep } from './lib/node/firewall.mts'
import { readNics } from './lib/node/nic.mts'
import { hasClockService, hasPackages } from './lib/node/packages.mts'
import { portMatrix, portsOf, reachByHand } from './lib/node/ports.mts'
import type { Run } from './lib/run/run.mts'
import { operate, script } from './lib/run/script.mts'
import { fileStep, type NodeStep } from './lib/run/step.mts'

const modules = ['br_netfilter', 'nf_conntrack', 'overlay', 'vxlan']

const sysctls = {
  // What the kubelet asks for with protect-kernel-defaults (K3s, CIS hardening guide).
  'kernel.panic': 10,
  'kernel.panic_on_oops': 1,
  'vm.overcommit_memory': 1,
  'vm.panic_on_oom': 0,
  // Pods are routed, and seen by iptables.
  'net.ipv4.ip_forward': 1,
  'net.bridge.bridge-nf-call-iptables': 1,
  'net.bridge.bridge-nf-call-ip6tables': 1,
  // Thousands of pods watch files and hold connections; the defaults end with "too many open files".
  'fs.inotify.max_user_instances': 8192,
  'fs.inotify.max_user_watches': 1048576,
  'net.netfilter.nf_conntrack_max': 1048576
}

export const prepare = script({
  id: '09_k3s_01',
  title: 'Prepare the nodes',
  file: import.meta.filename,
  story: async (run) => {
    const nics = await readNics(run, run.chosen)
    const said = new Map<string, Said>()
    await run.on(run.hosts, (host) => [saysTimeAndId(host, run, said)])
    await run.on(run.hosts, (host) => [
      ...isFit(host, run, { nic: nics.get(host.name) ?? '', said }),
      ...isMadeFit(host, run),
      firewallStep(host, run)
    ])
    let matrix: ReturnType<typeof portMatrix> | undefined
    await run.on(run.hosts, (host) => [{
      name: 'reaches its peers, and nobody from outside',
      check: async () => {
        matrix ??= portMatrix(run.hosts.filter(run.stands), run)
        return ((await matrix).get(host.name) ?? []).join('\n')
      },
      look: reachByHand(host, run.hosts),
      timeout: 120,
      hint: 'look at the firewall of the hosting network too: 8472/udp, 10250, 6443 and 2379-2380/tcp, private side'
    }])
  }
})

type Known = { nic: string; said: Map<string, Said> }

const isFit = (host: Host, { settings }: Run, { nic, said }: Known): NodeStep[] => {
  const { cpus, memory, disk } = settings.prepare[host.role]
  return [
    hasOwnMachineId(host, said),
    hasTimeOfOthers(host, settings, said),
    {
      name: 'runs Debian 12+ or Ubuntu 22.04+ on x86-64',
      check: `. /etc/os-release
case "$ID-\${VERSION_ID:-0}" in debian-1[2-9] | ubuntu-2[2-9].*) ;; *) echo "is \${PRETTY_NAME:-$ID}" ;; esac
[[ $(uname -m) == x86_64 ]] || echo "is $(uname -m)"
[[ $(printf '%s\\n' 5.10 "$(uname -r)" | sort -V | head -1) == 5.10 ]] || echo "has kernel $(uname -r), expected 5.10 or later"`
    },
    {
      name: `is called ${host.name}`,
      check: `[[ $(hostname) == ${host.name} ]] || echo "calls itself $(hostname)"`,
      hint: `hostnamectl set-hostname ${host.name}, or correct servers.tsv line ${host.line}`
    },
    {
      name: `has ${host.address} on a NIC with MTU ${settings.network.mtu}`,
      check: nic === '' ? `echo 'no NIC has it'` : `mtu=$(cat /sys/class/net/${nic}/mtu)
[[ $mtu -eq ${settings.network.mtu} ]] || echo "${nic} has MTU $mtu"`,
      hint: `ip address; compare servers.tsv line ${host.line} and network.mtu in the settings`
    },
    {
      name: 'has a default route',
      check: `[[ -n $(ip route show default) ]] || echo 'has none, and K3s does not start without'`
    },
    {
      name: `has ${plural(cpus, 'CPU')}, ${memory} GiB of memory, ${disk} GiB of disk`,
      check: `cpus=$(nproc); [[ $cpus -ge ${cpus} ]] || echo "has $cpus CPUs"
awk '/MemTotal/ && $2 < ${memory} * 1048576 {printf "has %.1f GiB of memory\\n", $2 / 1048576}' /proc/meminfo
df --output=avail /var/lib | awk 'NR == 2 && $1 < ${disk} * 1048576 {printf "has %.1f GiB free under /var/lib\\n", $1 / 1048576}'`
    },
    {
      name: 'has the ports of K3s free',
      check: `ss -Hltnp '( ${portsOf(host).map((port) => `sport = :${port}`).join(' or ')} )' | while read -r _ _ _ socket _ users; do
  pid=$(sed -n 's/.*pid=\\([0-9]*\\).*/\\1/p' <<<"$users")
  grep -qs k3s "/proc/$pid/cgroup" || echo "$socket is taken by $users"
done`,
      hint: 'stop what holds the port, or move it'
    }
  ]
}

const isMadeFit = (host: Host, { settings }: Run): NodeStep[] => {
  const resolvers = settings.network.nameservers.map((address) => `nameserver ${address}\n`).join('')
  const names = Object.entries(sysctls).map(([name, value]) => `${name}=${value}`)
  return [
    hasPackages(settings.prepare.packages),
    ...(host.role === 'server' ? [writesDurably(settings)] : []),
    hasClockService,
    {
      name: 'has swap off',
      check: `swapon --show=NAME --noheadings | sed 's/$/ is in use/'
awk '!/^[ \\t]*#/ && $3 == "swap" {print $1 " is in /etc/fstab"}' /etc/fstab`,
      change: `swapoff --all
sed -i.keybuzz-before -E '/^[ \\t]*#/! s/^([^ \\t]+[ \\t]+[^ \\t]+[ \\t]+swap[ \\t].*)$/# \\1/' /etc/fstab`
    },
    fileStep('/etc/modules-load.d/90-keybuzz-k3s.conf', modules.join('\n') + '\n', { name: 'loads the kernel modules at boot' }),
    {
      name: 'has the kernel modules',
      // A module that is built into the kernel is seen by what it brings.
      check: `for name in ${modules.join(' ')}; do
  [[ -d /sys/module/$name || $name == br_netfilter && -d /proc/sys/net/bridge ]] || echo "$name is not loaded"
done`,
      change: `modprobe --all ${modules.join(' ')}`,
      hint: 'a kernel without these modules cannot run K3s'
    },
    fileStep('/etc/sysctl.d/90-keybuzz-k3s.conf', names.map((line) => line.replace('=', ' = ')).join('\n') + '\n', {
      name: 'sets the sysctls at boot'
    }),
    {
      name: 'has the sysctls',
      check: `for pair in ${names.join(' ')}; do
  name=\${pair%%=*}; is=$(<"/proc/sys/\${name//.//}")
  # Limits may be higher.
  if [[ $name == *.max* || $name == *_max* ]]; then ((is >= \${pair#*=})); else [[ $is == "\${pair#*=}" ]]; fi ||
    echo "$name is $is, expected \${pair#*=}"
done`,
      change: 'sysctl --quiet --load /etc/sysctl.d/90-keybuzz-k3s.conf'
    },
    {
      // A link to the systemd stub (127.0.0.53) makes CoreDNS ask itself, and comes back after each reboot.
      name: 'has a resolv.conf of its own, immutable',
      check: `if [[ -L /etc/resolv.conf || ! -f /etc/resolv.conf ]]; then echo 'is no file of its own'; exit; fi
[[ $(</etc/resolv.conf) == "$(base64 -d <<<${Buffer.from(resolvers).toString('base64')})" ]] || echo 'names other servers'
[[ $(lsattr /etc/resolv.conf) == ????i* ]] || echo 'is not immutable'`,
      change: `if [[ ! -L /etc/resolv.conf && -f /etc/resolv.conf ]]; then chattr -i /etc/resolv.conf; fi
cat > /etc/resolv.conf.new <<'END'
${resolvers}END
chmod 0644 /etc/resolv.conf.new
mv /etc/resolv.conf.new /etc/resolv.conf
chattr +i /etc/resolv.conf`
    }
  ]
}

if (import.meta.main) await operate([prepare], import.meta.filename)
