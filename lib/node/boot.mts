import type { Host } from '../input/inventory.mts'
import type { Settings } from '../input/settings.mts'
import { fileStep, type NodeStep } from '../run/step.mts'

/** The step that a host is called what servers.tsv says, also after a boot. */
export const isCalled = ({ name, line }: Host): NodeStep => ({
  name: `is called ${name}`,
  check: `[[ $(hostname) == ${name} ]] || echo "calls itself $(hostname)"
at_boot=$(awk '!/^[ \\t]*(#|$)/ { print $1; exit }' /etc/hostname 2>/dev/null || true)
[[ $at_boot == ${name} ]] || echo "/etc/hostname says \${at_boot:-nothing}, which counts from the next boot on"`,
  hint: `hostnamectl set-hostname ${name}, or correct servers.tsv line ${line}`
})

/**
 * The step that a host has cgroup v2, also after a boot. Since 1.35 the kubelet does not start with v1, unless its argument
 * fail-cgroupv1=false says so (pkg/kubelet/apis/config/validation/validation_linux.go; failCgroupV1 defaults to true).
 */
export const hasCgroup2 = ({ k3s }: Pick<Settings, 'k3s'>): NodeStep => {
  const minor = Number(k3s.version.split('.')[1])
  const allowed = minor < 35 ? `K3s ${k3s.version} runs with it` : k3s.kubelet_args.includes('fail-cgroupv1=false') ? 'k3s.kubelet_args allows it' : ''
  const asked = 'systemd\\.unified_cgroup_hierarchy=(0|no|false|off)'
  return {
    name: 'has cgroup v2',
    check: `kind=$(stat --file-system --format=%T /sys/fs/cgroup)
${allowed === ''
    ? `[[ $kind == cgroup2fs ]] || echo 'has cgroup v1, and the kubelet of ${k3s.version} does not start with it'
at_boot=$(grep -lsE '^[^#]*${asked}' /boot/grub/grub.cfg /etc/default/grub /etc/default/grub.d/*.cfg || true)
for file in $at_boot; do echo "$file asks for cgroup v1, so the next boot brings it"; done`
    : `[[ $kind == cgroup2fs ]] || echo '= has cgroup v1, and ${allowed}'`}`,
    hint: 'take systemd.unified_cgroup_hierarchy=0 out of /etc/default/grub, or set it to 1, then update-grub and reboot; '
      + 'k3s.kubelet_args with fail-cgroupv1=false makes do without'
  }
}

const modules = ['br_netfilter', 'nf_conntrack', 'overlay', 'vxlan']

/**
 * The step that nothing keeps the kernel modules out at a boot. `modprobe NAME` loads one that is on a blacklist;
 * systemd-modules-load does not (KMOD_PROBE_APPLY_BLACKLIST), nor does the kernel that needs it.
 */
export const mayLoadModules: NodeStep = {
  name: 'has no file that keeps the kernel modules out',
  check: `if [[ $(systemctl is-enabled systemd-modules-load.service 2>/dev/null) == masked* ]]; then
  echo 'systemd-modules-load.service is masked, so no module is loaded at boot'
fi
command -v modprobe >/dev/null || exit 0
modprobe --showconfig | awk '$1 == "blacklist" || $1 == "install" && $3 ~ /(^|\\/)(true|false)$/ { print $1, $2 }' | sort -u |
  while read -r verb name; do
    case " ${modules.join(' ')} " in *" $name "*) ;; *) continue ;; esac
    # What is built into the kernel needs no loading.
    if [[ $(modinfo -F filename "$name" 2>/dev/null) == '(builtin)' ]]; then continue; fi
    file=$(grep -lsE "^[[:space:]]*$verb[[:space:]]+\${name//_/[-_]}([[:space:]]|$)" {/etc,/run,/usr/local/lib,/usr/lib,/lib}/modprobe.d/*.conf | head -n 1 || true)
    echo "\${file:-the kernel command line} says: $verb $name"
  done`,
  hint: 'take the line out of that file: without the module K3s does not work after the next boot'
}

/** The steps that a node has the kernel modules, also after a boot. */
export const hasModules: NodeStep[] = [
  fileStep('/etc/modules-load.d/90-keybuzz-k3s.conf', modules.join('\n') + '\n', { name: 'loads the kernel modules at boot' }),
  {
    name: 'has the kernel modules',
    // A module that is built into the kernel is seen by what it brings.
    check: `for name in ${modules.join(' ')}; do
  [[ -d /sys/module/$name || $name == br_netfilter && -d /proc/sys/net/bridge ]] || echo "$name is not loaded"
done`,
    change: `modprobe --all ${modules.join(' ')}`,
    hint: 'a kernel without these modules cannot run K3s'
  }
]

// What a boot starts: swap.target's own units, and services that swap. fstab's units are known until the next reload.
const swapUnits = `swap_units() {
  local unit
  for unit in $(systemctl show --property=Requires,Wants --value swap.target); do
    [[ $unit == *.swap && $(systemctl show --property=LoadState --value "$unit") == loaded ]] || continue
    if [[ $(systemctl show --property=SourcePath --value "$unit") != /etc/fstab ]]; then echo "$unit"; fi
  done
  for unit in dphys-swapfile.service swapspace.service zram-config.service zramswap.service; do
    if [[ $(systemctl is-enabled "$unit" 2>/dev/null) == enabled ]]; then echo "$unit"; fi
  done
}`

/** The step that a boot turns no swap on, whatever /etc/fstab says. */
export const bootsWithoutSwap: NodeStep = {
  name: 'has no unit that turns swap on at boot',
  check: `${swapUnits}
swap_units`,
  change: `${swapUnits}
for unit in $(swap_units); do
  if [[ $unit == *.service || -f /etc/systemd/system/$unit ]]; then systemctl disable --now "$unit"; else systemctl mask "$unit"; fi
done`
}

/** The step that no other firewall starts at a boot. It would take ufw's rules away, before or after ufw has set them. */
export const hasNoOtherFirewall: NodeStep = {
  name: 'has no other firewall that starts at boot',
  check: `for unit in ferm firewalld iptables netfilter-persistent nftables shorewall; do
  [[ $(systemctl is-enabled "$unit.service" 2>/dev/null) == enabled ]] || continue
  # nftables may have tables of its own beside ufw's.
  if [[ $unit == nftables ]] && ! grep -qsE '^[[:space:]]*flush[[:space:]]+ruleset' /etc/nftables.conf; then continue; fi
  echo "$unit.service is enabled"
done`,
  hint: 'ufw has the rules here: systemctl disable UNIT, or take "flush ruleset" out of /etc/nftables.conf'
}
