// uvu's test, which also prints how long each one took; test/run.mts lists these lines at its end.
import { test as plain } from 'uvu'

const timed = (name: string, work: () => Promise<void>): void =>
  plain(name, async () => {
    const began = performance.now()
    try {
      await work()
    } finally {
      console.log(`\n${((performance.now() - began) / 1000).toFixed(1).padStart(8)} s  ${name}`)
    }
  })

export const test = Object.assign(timed, { run: plain.run, after: plain.after })
