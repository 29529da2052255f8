import type { NodeStep } from '../run/step.mts'

// The first command repairs what an interrupted installation has left. It waits until no other apt runs.
const installs = (packages: string): string => `export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
timeout 120 bash -c 'until dpkg --force-confold --configure -a; do sleep 2; done' >&2
apt-get update -q >&2 || echo 'the package lists are old' >&2
apt-get install -qy --no-install-recommends --no-upgrade -o DPkg::Lock::Timeout=120 \
  -o DPkg::Options::=--force-confold ${packages} >&2`

/** The step that these Debian packages are installed. */
export const hasPackages = (names: string[]): NodeStep => {
  const packages = names.join(' ')
  return {
    name: 'has the packages that K3s uses',
    check: `has=$(dpkg-query -Wf '\${Package} \${db:Status-Status};' ${packages} 2>/dev/null || true)
for name in ${packages}; do
  [[ ";$has" == *";$name installed;"* ]] || echo "$name is missing"
done`,
    change: installs(packages),
    timeout: 600
  }
}

/** The step that a service keeps the clock. Without one chrony is installed. */
export const hasClockService: NodeStep = {
  name: 'has its clock kept by a service',
  check: `units=(systemd-timesyncd chrony chronyd ntpsec ntp)
running=$(systemctl list-units --state=active --plain --no-legend "\${units[@]/%/.service}" | cut -d' ' -f1 || true)
[[ -n $running ]] && systemctl is-enabled --quiet $running || echo 'no time service runs'`,
  change: `${installs('chrony')}
systemctl enable --now chrony`,
  timeout: 600
}
