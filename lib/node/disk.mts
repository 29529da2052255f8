import { plural } from '../base/words.mts'
import type { Host } from '../input/inventory.mts'
import type { Settings } from '../input/settings.mts'
import type { NodeStep } from '../run/step.mts'

// GiB. K3s's kubelet throws pods out at 5 % of a disk (K3s: pkg/daemons/agent): 2 of 40 GB. Also there is room for the files
// of one more release.
const roomOfUsed = 5

/** The step that a node has the CPUs, memory and disk of the settings. Where K3s is already it has used its disk: less is enough. */
export const isLargeEnough = (host: Host, settings: Settings): NodeStep => {
  const { cpus, memory, disk } = settings.prepare[host.role]
  return {
    name: `has ${plural(cpus, 'CPU')}, ${memory} GiB of memory, ${disk} GiB of disk`,
    check: `cpus=$(nproc); [[ $cpus -ge ${cpus} ]] || echo "has $cpus CPUs"
awk '/MemTotal/ && $2 < ${memory} * 1048576 {printf "has %.1f GiB of memory\\n", $2 / 1048576}' /proc/meminfo
least=${disk}
if [[ -d /var/lib/rancher/k3s/agent/containerd ]]; then
  least=${Math.min(disk, roomOfUsed)}; echo "= K3s is here already: $least GiB of free disk are enough"
fi
df --output=avail /var/lib | awk -v least=$least 'NR == 2 && $1 < least * 1048576 {printf "has %.1f GiB free under /var/lib, expected %s\\n", $1 / 1048576, least}'`
  }
}

/** The step that a server's disk writes as fast as etcd needs it. */
export const writesDurably = (settings: Settings): NodeStep => ({
  name: `writes durably in under ${settings.prepare.etcd_fsync_p99} ms`,
  // Once etcd runs here, its own metrics show this. A short load must not fail 01: 02 must still repair etcd.
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
