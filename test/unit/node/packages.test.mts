import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { hasClockService, hasPackages } from '../../../lib/node/packages.mts'
import { commands, onNode, unreadable } from '../../support/node-shell.mts'

test('packages that are missing, or only half there, are told', () => {
  const { check } = hasPackages(['conntrack', 'iptables', 'ufw'])
  const says = (dpkg: string) => onNode(check as string, { path: [commands({ 'dpkg-query': dpkg })] })
  assert.equal(says("printf 'conntrack installed;iptables installed;ufw installed;'"), { stdout: '', stderr: '', code: 0 })
  assert.is(says("printf 'conntrack installed;iptables config-files;'; exit 1").stdout, 'iptables is missing\nufw is missing')
  assert.is(says("printf 'conntrack installed;iptables installed;gufw installed;'").stdout, 'ufw is missing')
})

test('packages are installed by name, without a question or an upgrade, and from old lists where there are no new ones', () => {
  const change = hasPackages(['conntrack', 'ufw']).change as string
  const path = [commands({ dpkg: ':', 'apt-get': 'echo "$DEBIAN_FRONTEND $*"; [[ $1 != update ]]' })]
  const { stderr, stdout, code } = onNode(change, { path })
  assert.equal([stdout, code], ['', 0])
  assert.equal(stderr.split('\n'), [
    'noninteractive update -q',
    'the package lists are old',
    'noninteractive install -qy --no-install-recommends --no-upgrade -o DPkg::Lock::Timeout=120 ' +
      '-o DPkg::Options::=--force-confold conntrack ufw'
  ])
})

test('any service that keeps the clock will do, if it comes back at boot', () => {
  const says = (running: string, enabled: boolean): string => onNode(hasClockService.check as string, {
    path: [commands({ systemctl: `case $1 in list-units) printf '${running}';; is-enabled) [[ ${enabled} == true ]];; esac` })]
  }).stdout
  assert.is(says('chrony.service loaded active running chrony\\n', true), '')
  assert.is(says('chrony.service loaded active running chrony\\n', false), 'no time service runs')
  assert.is(says('', true), 'no time service runs')
})

test('without one chrony is installed and started', () => {
  const change = hasClockService.change as string
  assert.is(unreadable(change), '')
  assert.match(change, /--force-confold chrony >&2\nsystemctl enable --now chrony$/)
})

test.run()
