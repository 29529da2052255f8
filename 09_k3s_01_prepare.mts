#!/usr/bin/env node
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

import { firewallStep } from './lib/node/firewall.mts'
import type { Run } from './lib/run/run.mts'
import type { Host } from './lib/input/inventory.mts'
import { portMatrix, portsOf } from './lib/node/ports.mts'
import { readNics } from './lib/node/nic.mts'
import { operate, type Script } from './lib/run/script.mts'
import { capture } from './lib/reach/ssh.mts'
import { fileStep, type Step } from './lib/run/step.mts'
import { plural } from './lib/base/words.mts'

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

export const prepare: Script = {
  id: '09_k3s_01',
  title: 'Prepare the nodes',
  story: async (run) => {
    const nics = await readNics(run, run.chosen)
    const told = new Map<string, Told>()
    await run.on(run.hosts, (host) => [tells(host, told)])
    await run.on(run.hosts, (host) => [
      ...isFit(host, run, { nic: nics.get(host.name) ?? '', told }),
      ...isMadeFit(host, run),
      firewallStep(host, { hosts: run.hosts, settings: run.settings })
    ])
    let matrix: ReturnType<typeof portMatrix> | undefined
    await run.on(run.hosts, (host) => [{
      name: 'reaches its peers, and nobody from outside',
      check: async () => {
        matrix ??= portMatrix(run.hosts.filter(run.stands), run.settings)
        return ((await matrix).get(host.name) ?? []).join('\n')
      },
      hint: 'look at the firewall of the hosting network too: 8472/udp, 10250, 6443 and 2379-2380/tcp, private side'
    }])
  }
}

type Told = { machineId: string; ahead: number; error: number }

const tells = (host: Host, told: Map<string, Told>): Step => ({
  name: 'tells its time and its machine-id',
  check: async () => {
    const asked = Date.now()
    const [time, machineId = ''] = (await capture(host, 'date +%s%3N; cat /etc/machine-id')).split('\n')
    const answered = Date.now()
    told.set(host.name, { machineId, ahead: Number(time) - (asked + answered) / 2, error: (answered - asked) / 2 })
    return ''
  }
})

type Known = { nic: string; told: Map<string, Told> }

const isFit = (host: Host, { settings }: Run, { nic, told }: Known): Step[] => {
  const { cpus, memory, disk } = settings.prepare[host.role]
  return [
    {
      name: 'has a machine-id of its own',
      check: async () => {
        const id = told.get(host.name)?.machineId
        const twins = [...told.keys()].filter((name) => name !== host.name && told.get(name)?.machineId === id)
        return twins.length > 0 ? `${twins.join(', ')} has the same` : ''
      },
      hint: 'a cloned image: rm /etc/machine-id && systemd-machine-id-setup, then reboot'
    },
    {
      name: 'has the time of the others',
      check: async () => {
        const all = [...told.values()].map(({ ahead }) => ahead).toSorted((a, b) => a - b)
        const { ahead, error } = told.get(host.name) ?? { ahead: 0, error: 0 }
        const off = ahead - (all[Math.floor(all.length / 2)] ?? 0)
        const tooFar = Math.abs(off) - error > settings.prepare.clock_skew * 1000
        return tooFar ? `is ${(Math.abs(off) / 1000).toFixed(1)} s ${off > 0 ? 'ahead' : 'behind'}` : ''
      },
      hint: 'timedatectl status'
    },
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
      check: `ip route show default | grep -q . || echo 'has none, and K3s does not start without'`
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

const writesDurably = ({ settings }: Run): Step => ({
  name: `writes durably in under ${settings.prepare.etcd_fsync_p99} ms`,
  // Once etcd runs here, its own metrics tell; a loaded moment must not keep 02 from mending it.
  check: `if systemctl is-active --quiet k3s; then exit; fi
python3 - <<'END'
import os, tempfile, time
folder = '/var/lib/rancher' if os.path.isdir('/var/lib/rancher') else '/var/lib'
with tempfile.TemporaryFile(dir=folder) as file:
    took = []
    for _ in range(100):
        start = time.monotonic()
        os.write(file.fileno(), b'x' * 2300)  # about what etcd appends to its log for one change
        os.fdatasync(file.fileno())
        took.append((time.monotonic() - start) * 1000)
p99 = sorted(took)[98]
if p99 > ${settings.prepare.etcd_fsync_p99}:
    print(f'p99 of fdatasync is {p99:.1f} ms')
END`,
  hint: 'etcd loses its leader on a slow disk: use local NVMe, or take other load off this one'
})

// The first command mends what an interrupted installation has left, once no other one is at work.
const installs = (packages: string): string => `export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
timeout 120 bash -c 'until dpkg --force-confold --configure -a; do sleep 2; done' >&2
apt-get update -q >&2 || echo 'the package lists are old' >&2
apt-get install -qy --no-install-recommends --no-upgrade -o DPkg::Lock::Timeout=120 \
  -o DPkg::Options::=--force-confold ${packages} >&2`

const isMadeFit = (host: Host, run: Run): Step[] => {
  const { settings } = run
  const packages = settings.prepare.packages.join(' ')
  const resolvers = settings.network.nameservers.map((address) => `nameserver ${address}\n`).join('')
  const names = Object.entries(sysctls).map(([name, value]) => `${name}=${value}`)
  return [
    {
      name: 'has the packages that K3s uses',
      check: `has=$(dpkg-query -Wf '\${Package} \${db:Status-Status};' ${packages} 2>/dev/null || true)
for name in ${packages}; do
  [[ ";$has" == *";$name installed;"* ]] || echo "$name is missing"
done`,
      change: installs(packages),
      timeout: 600
    },
    ...(host.role === 'server' ? [writesDurably(run)] : []),
    {
      name: 'has its clock kept by a service',
      check: `units=(systemd-timesyncd chrony chronyd ntpsec ntp)
running=$(systemctl list-units --state=active --plain --no-legend "\${units[@]/%/.service}" | cut -d' ' -f1 || true)
[[ -n $running ]] && systemctl is-enabled --quiet $running || echo 'no time service runs'`,
      change: `${installs('chrony')}
systemctl enable --now chrony`,
      timeout: 600
    },
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
