import { chmodSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'

/**
 * Puts an `ssh` on PATH that runs the command on this machine, as the user who runs the test. An address of 192.0.2.255
 * does not answer; 192.0.2.254 fails with what the file $FAKE_FAULT says. $FAKE_LOGIN is a file that the login shell reads.
 * What a script does with the lock of the cluster, it does with `lock` in the folder that is returned; and $FAKE_SSH has the
 * words that ssh was called with. Set HOME before lib/reach/ssh.mts is imported: it keeps its sockets there.
 */
export const useFakeSsh = (): string => {
  const folder = mkdtempSync(join(tmpdir(), 'keybuzz-fake-ssh-'))
  writeFileSync(join(folder, 'ssh'), `#!/bin/bash
if [[ $1 == -V ]]; then echo "OpenSSH_9.2p1 Debian" >&2; exit; fi
if [[ -n $FAKE_LOGIN ]]; then export BASH_ENV=$FAKE_LOGIN; fi
for word; do target=$command; command=$word; done
export FAKE_SSH="\${*:1:$#-1}"
if [[ $target == *@192.0.2.255 ]]; then echo "ssh: connect to host 192.0.2.255 port 22: Connection timed out" >&2; exit 255; fi
if [[ $target == *@192.0.2.254 ]]; then cat "$FAKE_FAULT" >&2; exit 255; fi
[[ $command == *'read -r seconds size'* ]] || exec bash -c "$command"
LC_ALL=C
read -r seconds size
script=$(head -c "$size"; echo x)
script=\${script%x}
script=\${script//'/run/keybuzz-k3s.lock'/'${folder}/lock'}
exec 3<&0
exec bash -c "$command" < <(printf '%s %s\\n%s' "$seconds" "\${#script}" "$script"; exec cat <&3)
`)
  chmodSync(join(folder, 'ssh'), 0o755)
  process.env['PATH'] = `${folder}${delimiter}${process.env['PATH']}`
  process.env['HOME'] = folder
  return folder
}
