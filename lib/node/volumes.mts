import type { Settings } from '../input/settings.mts'
import type { NodeStep } from '../run/step.mts'

/**
 * The step that a node has a disk for volumes. If it must be a separate one, a boot must mount it too: nobody misses a data
 * volume that is not mounted until the system's disk is full.
 */
export const hasRoomForVolumes = ({ addons: { volumes } }: Pick<Settings, 'addons'>): NodeStep => ({
  name: `has a disk for volumes under ${volumes.path}`,
  check: `dir=${volumes.path}; until [[ -d $dir ]]; do dir=$(dirname "$dir"); done
disk=$(findmnt -n -o TARGET -T "$dir")
echo "= $(df -BG --output=avail "$dir" | tail -n 1 | tr -d ' G') GiB free on $disk"
${volumes.mounted ? `if [[ $disk == / ]]; then
  echo "${volumes.path} is on the system's disk: the data volume is not mounted"
  exit
fi
[[ $(findmnt -n -o FSTYPE -M "$disk") != zfs ]] || exit 0 # it mounts by itself
options=,$(findmnt --fstab -n -o OPTIONS -M "$disk" || true),
unit=$(systemd-escape --path --suffix=mount "$disk")
if [[ $options == ,, || $options == *,noauto,* && $options != *,x-systemd.automount,* ]] &&
  [[ $(systemctl is-enabled "$unit" 2>/dev/null) != enabled ]]; then echo "$disk is not mounted again at the next boot"; fi` : ''}`,
  hint: 'mount it, in /etc/fstab too; or set addons.volumes in the settings'
})
