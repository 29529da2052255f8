import { setTimeout as sleep } from 'node:timers/promises'

/** Waits until it holds. Throws `not within 30 s: ...`, which is far longer than it takes on a machine that is busy. */
export const eventually = async (what: string, holds: () => boolean | Promise<boolean>): Promise<void> => {
  for (const end = performance.now() + 30_000; !(await holds());) {
    if (performance.now() > end) throw new Error(`not within 30 s: ${what}`)
    await sleep(20)
  }
}
