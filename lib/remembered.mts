export type Remembered<Value> = { get: () => Promise<Value>; forget: () => void }

/** What all hosts ask for at once is fetched once, and again a second later or after a change. */
export const remembered = <Value,>(fetch: () => Promise<Value>): Remembered<Value> => {
  let fetched: { at: number; value: Promise<Value> } | undefined
  return {
    get: () => {
      if (fetched === undefined || Date.now() - fetched.at > 1000) fetched = { at: Date.now(), value: fetch() }
      return fetched.value
    },
    forget: () => (fetched = undefined)
  }
}
