import { chmodSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'

/**
 * Puts an `ssh` on PATH that runs the command on this machine, as the user who runs the test. An address of 192.0.2.255
 * does not answer. Set HOME before lib/reach/ssh.mts is imported: it keeps its sockets there.
 */
export const useFakeSsh = (): string => {
  const folder = mkdtempSync(join(tmpdir(), 'keybuzz-fake-ssh-'))
  writeFileSync(join(folder, 'ssh'), `#!/bin/bash
for word; do target=$command; command=$word; done
if [[ $target == *@192.0.2.255 ]]; then echo "ssh: connect to host 192.0.2.255 port 22: Connection timed out" >&2; exit 255; fi
exec bash -c "$command"
`)
  chmodSync(join(folder, 'ssh'), 0o755)
  process.env['PATH'] = `${folder}${delimiter}${process.env['PATH']}`
  process.env['HOME'] = folder
  return folder
}
