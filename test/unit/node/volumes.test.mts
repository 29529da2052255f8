import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { defaultSettings } from '../../../lib/input/settings.mts'
import { hasRoomForVolumes } from '../../../lib/node/volumes.mts'
import { commands, onNode } from '../../support/node-shell.mts'

type Disk = { mounted?: boolean; at?: string; type?: string; fstab?: string; unit?: string }

const told = ({ mounted = true, at = '/data', type = 'ext4', fstab = '', unit = 'disabled' }: Disk): string[] => {
  const { addons } = defaultSettings()
  const { check } = hasRoomForVolumes({ addons: { ...addons, volumes: { path: '/data/volumes', mounted } } })
  const path = [commands({
    findmnt: `case "$*" in
*TARGET*) echo ${at} ;;
*FSTYPE*) echo ${type} ;;
'--fstab -n -o OPTIONS -M /data') echo '${fstab}' | grep . ;;
*) exit 9 ;;
esac`,
    df: 'printf "Avail\\n 40G\\n"',
    'systemd-escape': 'echo data.mount',
    systemctl: `[[ $* == 'is-enabled data.mount' ]] && echo ${unit}; [[ ${unit} == enabled ]]`
  })]
  const { stdout, stderr, code } = onNode(String(check), { path })
  assert.equal([stderr, code], ['', 0])
  return stdout.split('\n')
}

test('a disk that was mounted by hand is not there after a boot', () => {
  const evidence = '= 40 GiB free on /data'
  assert.equal(told({}), [evidence, '/data is not mounted again at the next boot'])
  assert.equal(told({ unit: 'generated' }), [evidence, '/data is not mounted again at the next boot'])
  assert.equal(told({ fstab: 'defaults,noauto' }), [evidence, '/data is not mounted again at the next boot'])
  assert.equal(told({ fstab: 'defaults,nofail' }), [evidence])
  assert.equal(told({ fstab: 'noauto,x-systemd.automount' }), [evidence])
  assert.equal(told({ unit: 'enabled' }), [evidence])
  assert.equal(told({ type: 'zfs' }), [evidence])
})

test("the system's disk will do, unless a separate one must be there", () => {
  assert.equal(told({ at: '/', mounted: false }), ['= 40 GiB free on /'])
  assert.equal(told({ at: '/' }), ['= 40 GiB free on /', "/data/volumes is on the system's disk: the data volume is not mounted"])
})

test.run()
