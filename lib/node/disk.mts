import type { Settings } from '../input/settings.mts'
import type { NodeStep } from '../run/step.mts'

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
