#!/usr/bin/env -S sh -c 'exec "$(dirname "$(readlink -f "$0")")/lib/run/start.sh" "$0" "$@"'
// 09_k3s_01  Prepare the nodes
//
// Checks that every K3s node of servers.tsv is fit for K3s, makes what module 2 left as K3s needs it (swap, kernel
// modules, sysctls, resolv.conf, packages, firewall), and proves with packets that the nodes reach one another on
// every port of the cluster and that nobody does from the public side. What a boot would undo is told before it comes.
//
// Needs:   ssh to every node as USER_SSH, root or with sudo without a password.
// Changes: /etc/fstab and units that turn swap on, /etc/modules-load.d and /etc/sysctl.d/90-keybuzz-k3s.conf,
//          /etc/resolv.conf (immutable), packages, time synchronisation, ufw rules with the comment "keybuzz-k3s: ...".
//          Docker is left alone.
// Undo:    remove the two files, `chattr -i /etc/resolv.conf`, and each `ufw delete RULE` that `ufw show added` lists
//          with our comment.
// Example: ./09_k3s_01_prepare.mts --plan --hosts k3s-worker-05

import { knowsEveryNode } from './lib/cluster/nodes.mts'
import type { Host } from './lib/input/inventory.mts'
import { canBeTakenOver, tunnelsOnPrivateNic } from './lib/node/adopt.mts'
import { bootsWithoutSwap, hasCgroup2, hasModules, hasNoOtherFirewall, isCalled, mayLoadModules } from './lib/node/boot.mts'
import { hasOwnMachineId, hasTimeOfOthers, saysTimeAndId, type Said } from './lib/node/compared.mts'
import { isLargeEnough, writesDurably } from './lib/node/disk.mts'
import { firewallStep } from './lib/node/firewall.mts'
import { readNics } from './lib/node/nic.mts'
import { hasClockService, hasPackages } from './lib/node/packages.mts'
import { portMatrix, portsOf, reachByHand } from './lib/node/ports.mts'
import { hasSysctls, keepsSysctls } from './lib/node/sysctls.mts'
import type { Run } from './lib/run/run.mts'
import { operate, script } from './lib/run/script.mts'
import type { NodeStep } from './lib/run/step.mts'

export const prepare = script({
  id: '09_k3s_01',
  title: 'Prepare the nodes',
  file: import.meta.filename,
  story: async (run) => {
    await run.once([knowsEveryNode(run)])
    if (!run.stands('cluster')) return
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

const isFit = (host: Host, run: Run, { nic, said }: Known): NodeStep[] => {
  const { settings } = run
  return [
    canBeTakenOver(host, run),
    tunnelsOnPrivateNic(host),
    hasOwnMachineId(host, said),
    hasTimeOfOthers(host, settings, said),
    {
      name: 'runs Debian 12+ or Ubuntu 22.04+ on x86-64',
      check: `. /etc/os-release
case "$ID-\${VERSION_ID:-0}" in debian-1[2-9] | ubuntu-2[2-9].*) ;; *) echo "is \${PRETTY_NAME:-$ID}" ;; esac
[[ $(uname -m) == x86_64 ]] || echo "is $(uname -m)"
[[ $(printf '%s\\n' 5.10 "$(uname -r)" | sort -V | head -1) == 5.10 ]] || echo "has kernel $(uname -r), expected 5.10 or later"`
    },
    hasCgroup2(settings),
    isCalled(host),
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
    isLargeEnough(host, settings),
    {
      name: 'has the ports of K3s free',
      check: `ss -Hltnp '( ${portsOf(host).map((port) => `sport = :${port}`).join(' or ')} )' | while read -r _ _ _ socket _ users; do
  pid=$(sed -n 's/.*pid=\\([0-9]*\\).*/\\1/p' <<<"$users")
  grep -qs k3s "/proc/$pid/cgroup" || echo "$socket is taken by $users"
done`,
      hint: 'stop what holds the port, or move it'
    },
    keepsSysctls,
    mayLoadModules,
    hasNoOtherFirewall
  ]
}

const isMadeFit = (host: Host, { settings }: Run): NodeStep[] => {
  const resolvers = settings.network.nameservers.map((address) => `nameserver ${address}\n`).join('')
  return [
    hasPackages(settings.prepare.packages),
    ...(host.role === 'server' ? [writesDurably(settings)] : []),
    hasClockService,
    bootsWithoutSwap,
    {
      name: 'has swap off',
      check: `swapon --show=NAME --noheadings | sed 's/$/ is in use/'
awk '!/^[ \\t]*#/ && $3 == "swap" {print $1 " is in /etc/fstab"}' /etc/fstab`,
      change: `swapoff --all
sed -i.keybuzz-before -E '/^[ \\t]*#/! s/^([ \\t]*[^ \\t]+[ \\t]+[^ \\t]+[ \\t]+swap([ \\t].*)?)$/# \\1/' /etc/fstab`
    },
    ...hasModules,
    ...hasSysctls,
    {
      // A link to the systemd stub (127.0.0.53) makes CoreDNS ask itself, and comes back after each reboot. Nothing
      // replaces a file that is immutable.
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
