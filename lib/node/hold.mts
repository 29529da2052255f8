import type { Host } from '../input/inventory.mts'
import { lastWords, type Ssh } from '../reach/ssh.mts'

/** A state to put a node into. Both are shell for the node. `mend` must also work when there is nothing to repair. */
export type HeldState = { begin: string; mend: string }

// The state lasts as long as this shell runs: until the bastion closes the connection, the connection is lost, or the time
// is up. In each case the trap repairs the node. Nothing may cut that short: a signal comes more than once (timeout sends it
// to the shell and to its group), and a shell that prints when the bastion is gone is ended by SIGPIPE.
const hold = ({ begin, mend }: HeldState, seconds: number): string => `
mend() {
exec >/dev/null 2>&1
trap '' TERM INT HUP
${mend}
}
trap mend EXIT
ended=
trap ended=1 TERM INT HUP
${begin}
while ((SECONDS < ${seconds})); do
  sleep 1 || true
  [[ -z $ended ]] || exit 0
done
echo 'it was mended after ${seconds} s' >&2
exit 1`

/**
 * Holds a node in a state while `use` runs, for at most `seconds`. The node repairs itself when the bastion is lost, for
 * any reason. Returns when it is repaired.
 */
export const whileHeld = async <Value,>(
  ssh: Ssh,
  host: Host,
  state: HeldState,
  { seconds, signal }: { seconds: number; signal: AbortSignal },
  use: () => Promise<Value>
): Promise<Value> => {
  const release = new AbortController()
  const held = ssh.run(host, hold(state, seconds), { timeout: seconds + 10, signal: AbortSignal.any([signal, release.signal]) })
  // It ends by itself only if it could not begin, or lasted too long.
  const ended = held.then((result) => Promise.reject(new Error(lastWords(result))))
  try {
    return await Promise.race([use(), ended])
  } finally {
    release.abort()
    await ended.catch(() => {})
    // Once more from here, also after an interruption: then it is certain that the node is repaired.
    await ssh.capture(host, state.mend, { signal: AbortSignal.timeout(30_000) })
  }
}
