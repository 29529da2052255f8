// uvu's test, which also prints how long each one took: test/run.mts lists such lines at its end.
import { test as plain } from 'uvu'

/** Prints how long something took, as a line that test/run.mts finds. */
export const took = (seconds: number, name: string): void => console.log(`\n${seconds.toFixed(1).padStart(8)} s  ${name}`)

const timed = (name: string, work: () => Promise<void>): void =>
  plain(name, async () => {
    const began = performance.now()
    try {
      await work()
    } finally {
      took((performance.now() - began) / 1000, name)
    }
  })

export const test = Object.assign(timed, { run: plain.run, after: plain.after })
