import { setTimeout as sleep } from 'node:timers/promises'
import type { Kubectl } from '../reach/kubectl.mts'

type Trial = { kubectl: Kubectl; signal: AbortSignal; manifest: string }

/**
 * Makes the objects of a manifest, uses them, and removes them, also when the use fails or the run is interrupted.
 * Objects that an earlier run left behind, as one that was killed, are taken over and removed too; a namespace that is
 * still being removed is waited for.
 */
export const withObjects = async <Result,>({ kubectl, manifest, signal }: Trial, use: () => Promise<Result>): Promise<Result> => {
  signal.throwIfAborted()
  const remove = (): Promise<string> => kubectl(['delete', '--ignore-not-found', '--wait=false', '-f', '-'], manifest)
  const make = async (): Promise<void> => {
    for (const end = Date.now() + 60_000; ;) {
      try {
        return void (await kubectl(['apply', '--server-side', '--force-conflicts', '-f', '-'], manifest))
      } catch (error) {
        if (!(error instanceof Error && /is being terminated/.test(error.message)) || Date.now() >= end) throw error
      }
      await sleep(1000, undefined, { signal })
    }
  }
  try {
    await make()
    const result = await use()
    await remove()
    return result
  } catch (error) {
    await remove().catch(() => {}) // the first error is the one that says what is wrong
    throw error
  }
}
