import { setTimeout as sleep } from 'node:timers/promises'
import { isAbort, messageOf } from './errors.mts'

export type Remembered<Value> = { get: () => Promise<Value>; forget: () => void }

/** A value that all hosts ask for at once: it is fetched once, and kept for a second or until a change. */
export const remembered = <Value,>(fetch: () => Promise<Value>): Remembered<Value> => {
  let fetched: { came: number; value: Promise<Value> } | undefined
  return {
    get: () => {
      if (fetched !== undefined && Date.now() - fetched.came <= 1000) return fetched.value
      const fetching = { came: Infinity, value: fetch() }
      fetched = fetching
      const settled = (): void => void (fetching.came = Date.now())
      fetching.value.then(settled, settled)
      return fetching.value
    },
    forget: () => (fetched = undefined)
  }
}

type Patience = {
  /** How long to go on asking. */
  seconds: number
  /** Ends the waiting with an AbortError. */
  signal: AbortSignal
  /** Seconds between an answer and the next question. */
  every?: number
}

/**
 * Asks until the answer is '' or the time is up, and returns the last answer. The message of an error is an answer too.
 * Only an interruption is thrown.
 */
export const until = async (ask: () => Promise<string>, { seconds, signal, every = 0.5 }: Patience): Promise<string> => {
  const end = Date.now() + seconds * 1000
  for (;;) {
    const words = await ask().catch((error: unknown) => {
      if (isAbort(error)) throw error
      return messageOf(error)
    })
    if (words === '' || Date.now() >= end) return words
    await sleep(every * 1000, undefined, { signal })
  }
}
