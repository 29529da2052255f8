export type Remembered<Value> = { get: () => Promise<Value>; forget: () => void }

/** What all hosts ask for at once is fetched once, and again a second after it came or after a change. */
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
