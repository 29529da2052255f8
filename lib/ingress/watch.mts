import { setTimeout as sleep } from 'node:timers/promises'
import ora from 'ora'
import { checkInWords, count, probe, renderWatch, turnInWords, type Check, type Tally } from './check.mts'
import type { Host } from '../input/inventory.mts'

type WatchOptions = {
  /** Ends it. */
  signal: AbortSignal
  /** Told each verdict that turns, where there is no terminal to draw on. */
  say: (line: string) => void
}

/**
 * Makes the check of every host at its interval until it is interrupted. On a terminal: a table on stderr that is painted
 * over in place; elsewhere a line for each verdict that turns.
 */
export const watch = async (hosts: Host[], check: Check, { signal, say }: WatchOptions): Promise<void> => {
  const tallies = new Map<string, Tally | undefined>(hosts.map(({ name }) => [name, undefined]))
  say(`${checkInWords(check)}; ${check.retries} in a row turn a node's verdict. ctrl-C ends it.`)
  // A terminal that does not know its width has 0 columns, which ora would count lines by.
  const table = process.stderr.isTTY === true && process.stderr.columns > 0 ? createTable(tallies, check) : undefined
  const follow = async ({ name, address }: Host): Promise<void> => {
    for (let next = Date.now(); !signal.aborted; next = Math.max(next + check.interval * 1000, Date.now())) {
      await sleep(next - Date.now(), undefined, { signal }).catch(() => {})
      const answer = await probe(address, check, signal)
      if (signal.aborted) return
      const before = tallies.get(name)
      const tally = count(before, answer, check.retries, Date.now())
      tallies.set(name, tally)
      if (table) table.paint()
      else if (tally.verdict !== (before?.verdict ?? 'unknown')) say(`${new Date().toISOString().slice(0, 19)}Z ${turnInWords(name, tally)}`)
    }
  }
  await Promise.all(hosts.map(follow))
  table?.end()
}

// The table is ora's text, which it paints anew in place each second, so that ages go on.
const createTable = (tallies: Map<string, Tally | undefined>, check: Check) => {
  const { stderr } = process
  const colour = !process.env['NO_COLOR']
  const draw = (): string =>
    renderWatch(tallies, check, Date.now(), { colour, columns: (stderr.columns ?? 80) - 1 }).slice(0, (stderr.rows ?? 24) - 2).join('\n')
  const painter = ora({ stream: stderr, discardStdin: false, spinner: { interval: 1000, frames: [''] }, prefixText: draw })
  painter.start()
  return {
    paint: (): void => void painter.render(),
    end: (): void => {
      painter.stop()
      stderr.write(`${draw()}\n`)
    }
  }
}
