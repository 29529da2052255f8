import { fileStep, type NodeStep } from '../run/step.mts'

const wanted = {
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

const ours = '90-keybuzz-k3s.conf'
const pairs = Object.entries(wanted).map(([name, value]) => `${name}=${value}`)

/**
 * The step that no other file sets the sysctls differently at a boot. The kubelet would not start then, though all is well
 * now. Two programs set sysctls at a boot: systemd-sysctl, where the last file by name wins (src/sysctl/sysctl.c), and ufw.
 */
export const keepsSysctls: NodeStep = {
  name: 'has no file that undoes the sysctls at boot',
  check: `export LC_ALL=C # names are compared byte by byte
if [[ $(systemctl is-enabled systemd-sysctl.service 2>/dev/null) == masked* ]]; then
  echo 'systemd-sysctl.service is masked, so no file sets them'
fi
declare -A path=()
# Of files with one name the one in /etc counts. The order is that of the names alone.
for file in {/lib,/usr/lib,/usr/local/lib,/run,/etc}/sysctl.d/*.conf; do
  if [[ -e $file ]]; then path[\${file##*/}]=$file; fi
done
files=()
while IFS= read -r name; do
  if [[ $name > ${ours} ]]; then files+=("$(readlink -f "\${path[$name]}")"); fi
done < <(printf '%s\\n' "\${!path[@]}" | sort)
# ufw loads its own file whenever it starts.
ufw=$(sed -n 's/^IPT_SYSCTL=//p' /etc/default/ufw 2>/dev/null | tail -n 1 | tr -d "\\"'") || true
if [[ -n $ufw && -f $ufw ]]; then files+=("$ufw"); fi
[[ \${#files[@]} -gt 0 ]] || exit 0
awk -v wanted='${pairs.join(' ')}' '
BEGIN {
  count = split(wanted, pairs, " ")
  for (i = 1; i <= count; i++) { split(pairs[i], pair, "="); order[i] = pair[1]; expected[pair[1]] = pair[2] }
}
{ sub(/^[ \\t]+/, ""); at = index($0, "=") }
/^[#;]/ || !at && !/^-/ { next }
{
  key = at ? substr($0, 1, at - 1) : $0
  sub(/^-/, "", key); gsub(/[ \\t]/, "", key); gsub("/", ".", key)
  if (key == "net.ipv4.conf.all.forwarding") key = "net.ipv4.ip_forward" # two names of one
  if (!(key in expected)) next
  value = at ? substr($0, at + 1) : "" # "-key" alone: no file sets it
  gsub(/^[ \\t]+|[ \\t\\r]+$/, "", value)
  is[key] = value; by[key] = FILENAME
}
END {
  for (i = 1; i <= count; i++) {
    key = order[i]
    if (!(key in by) || is[key] == expected[key] || key ~ /[._]max/ && is[key] + 0 >= expected[key]) continue
    if (is[key] == "") print by[key] " leaves " key " unset, expected " expected[key]
    else print by[key] " sets " key " = " is[key] ", expected " expected[key]
  }
}' "\${files[@]}"`,
  hint: `it wins over /etc/sysctl.d/${ours} at the next boot, and the kubelet may not start: take the line out of that file`
}

/** The steps that a node has the sysctls, also after a boot. */
export const hasSysctls: NodeStep[] = [
  fileStep(`/etc/sysctl.d/${ours}`, pairs.map((pair) => `${pair.replace('=', ' = ')}\n`).join(''), { name: 'sets the sysctls at boot' }),
  {
    name: 'has the sysctls',
    check: `for pair in ${pairs.join(' ')}; do
  name=\${pair%%=*}; is=$(<"/proc/sys/\${name//.//}")
  # Limits may be higher.
  if [[ $name == *.max* || $name == *_max* ]]; then ((is >= \${pair#*=})); else [[ $is == "\${pair#*=}" ]]; fi ||
    echo "$name is $is, expected \${pair#*=}"
done`,
    change: `sysctl --quiet --load /etc/sysctl.d/${ours}`
  }
]
