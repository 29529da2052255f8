import { randomUUID } from 'node:crypto'
import type { Host } from '../input/inventory.mts'
import { etcdShell } from '../node/etcd.mts'
import { lastWords, type Ssh } from '../reach/ssh.mts'

/** What one command on a node printed, and why it is not all there. */
export type Part = { name: string; text: string; fault?: string }

// Seconds that one command may take, and how many of its last bytes are kept.
const SECONDS = 20
const BYTES = 1_000_000

const tls = '/var/lib/rancher/k3s'

// Each runs by itself, as root. They only read.
const everywhere: Record<string, string> = {
  system: 'uname -a; cat /etc/os-release; uptime; date -u +%FT%TZ; nproc; systemd-detect-virt; timedatectl || true',
  memory: 'free -m; grep -H . /proc/pressure/* || true; ps -eo pid,user,etime,%cpu,rss,comm --sort=-rss | head -n 40',
  disks: 'df -hT; df -i /var/lib; lsblk || true; du -sh /var/lib/rancher/k3s/* 2>/dev/null || true',
  network: 'ip address; ip route; ip neighbour',
  sockets: 'ss -s; ss -ltnup',
  firewall: 'iptables -vnL INPUT; iptables -vnL FORWARD; ufw show added; ufw status verbose',
  units: `systemctl list-units --all --no-pager 'k3s*'; systemctl status --no-pager --lines 0 'k3s*'; systemctl list-units --failed --no-pager`,
  journal: `journalctl -u 'k3s*' -n 2000 -o short-iso --no-pager`,
  config: `ls -lR /etc/rancher; for file in /etc/rancher/k3s/config.yaml /etc/rancher/k3s/config.yaml.d/*.yaml; do
  if [[ -f $file ]]; then echo "# $file"; cat "$file"; fi
done`,
  resolver: 'ls -l /etc/resolv.conf; lsattr /etc/resolv.conf; cat /etc/resolv.conf /etc/rancher/k3s/resolv.conf',
  k3s: 'ls -l /usr/local/bin/k3s /var/lib/rancher/k3s/agent/images; k3s --version',
  images: 'k3s ctr -n k8s.io images ls',
  containers: 'k3s crictl ps -a 2>/dev/null || k3s ctr -n k8s.io tasks ls',
  certificates: `for file in ${tls}/server/tls/*.crt ${tls}/server/tls/etcd/*.crt ${tls}/agent/*.crt; do
  if [[ -f $file ]]; then echo "$file $(openssl x509 -noout -enddate -subject -in "$file" | tr '\\n' ' ')"; fi
done`,
  conntrack: 'sysctl net.netfilter.nf_conntrack_count net.netfilter.nf_conntrack_max; conntrack -S || true',
  kernel: 'lsmod; grep -H . /proc/sys/{vm/overcommit_memory,vm/panic_on_oom,kernel/panic*,fs/inotify/*,net/ipv4/ip_forward}; dmesg -T | tail -n 300',
  'nginx-log': `for file in $(ls -t /var/log/pods/nginx-ingress_*/*/*.log 2>/dev/null | head -n 4); do
  echo "# $file"; tail -n 500 "$file"
done`
}

// With set -e a refused connection ends it. Without, bash would go on and read the ssh connection instead.
const onServers: Record<string, string> = {
  snapshots: 'k3s etcd-snapshot ls; ls -l /var/lib/rancher/k3s/server/db/snapshots; du -sh /var/lib/rancher/k3s/server/db/etcd',
  'etcd-health': `set -e; ${etcdShell(['health'])}`,
  'etcd-metrics': `( set -e; ${etcdShell(['metrics'])}
) | grep -E '^(etcd_(server|disk|mvcc_db|network_(peer|active|client_grpc_(sent|received)_bytes))|process_)'`,
  readyz: `k3s kubectl get --raw '/readyz?verbose'; k3s kubectl get --raw '/livez?verbose'`,
  'secrets-encryption': 'k3s secrets-encrypt status'
}

/**
 * Asks a node, in one read-only script, for what a person would look at first. A command that fails or hangs does not keep
 * the others from being run. Throws where the node does not answer.
 */
export const readNode = async (ssh: Ssh, host: Host): Promise<Part[]> => {
  const commands = Object.entries({ ...everywhere, ...(host.role === 'server' ? onServers : {}) })
  const mark = `\u001e${randomUUID()}`
  const result = await ssh.run(host, script(commands, mark), { timeout: 180 })
  const told = new Map(result.stdout.split(`${mark} `).slice(1).map((text) => partOf(text)).map((part) => [part.name, part]))
  if (told.size === 0) throw new Error(lastWords(result))
  return commands.map(([name]) => told.get(name) ?? { name, text: '', fault: 'was not reached in time' })
}

const script = (commands: [string, string][], mark: string): string => `set +e
${commands.map(([, shell], index) => `part_${index}() {\n${shell}\n}\nexport -f part_${index}`).join('\n')}
part() {
  printf '%s %s\\n' '${mark}' "$2"
  timeout --kill-after=2 ${SECONDS} bash -c "part_$1" 2>&1 | tail -c ${BYTES}
  printf '\\n%s' "\${PIPESTATUS[0]}"
}
${commands.map(([name], index) => `part ${index} ${name}`).join('\n')}`

const partOf = (told: string): Part => {
  const start = told.indexOf('\n')
  const end = told.lastIndexOf('\n')
  const [name, text, code] = [told.slice(0, start), told.slice(start + 1, Math.max(start + 1, end)), told.slice(end + 1).trim()]
  if (!/^\d+$/.test(code)) return { name, text: told.slice(start + 1), fault: 'was cut off' }
  if (code === '0') return { name, text }
  const last = text.trim().split('\n').at(-1)?.slice(0, 200)
  return { name, text, fault: code === '124' ? `took longer than ${SECONDS} s` : [last, `exit ${code}`].filter(Boolean).join(', ') }
}
