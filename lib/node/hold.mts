import type { Host } from '../input/inventory.mts'
import { lastWords, type Ssh } from '../reach/ssh.mts'

/** A state to put a node into. Both are shell for the node, and `mend` may be run where nothing is to be mended. */
export type HeldState = { begin: string; mend: string }

// The state lasts as long as this runs. It ends when the bastion closes the connection, when that breaks, or by its time;
// the trap mends the node in each case.
const hold = ({ begin, mend }: HeldState, seconds: number): string => `
mend() { :
${mend}
}
trap mend EXIT
trap 'exit 0' TERM INT HUP
${begin}
sleep ${seconds} &
wait $!
echo 'it was mended after ${seconds} s' >&2
exit 1`

/**
 * Puts a node into a state for as long as `use` takes, for `seconds` at most. The node mends itself when the bastion goes
 * away, however that comes. Returns when it is mended.
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
  // It ends by itself only where it could not begin, or lasted too long.
  const ended = held.then((result) => Promise.reject(new Error(lastWords(result))))
  try {
    return await Promise.race([use(), ended])
  } finally {
    release.abort()
    await ended.catch(() => {})
    // Once more from here, also where the run was interrupted: that it is mended is then known, not hoped.
    await ssh.capture(host, state.mend, { signal: AbortSignal.timeout(30_000) })
  }
}
