import ora from 'ora'
import { renderColumns } from '../../lib/base/table.mts'

/** Tells what the lab is doing, and at the end what took the time. */
export type Progress = {
  /** Runs `work` under a name; `say` tells how far it is. */
  task: <T>(name: string, work: (say: (text: string) => void) => Promise<T>) => Promise<T>
  /** One lasting line. */
  note: (text: string) => void
  /** The lasting tasks with their times, longest first; nothing where all was quick. */
  durations: () => string
}

/** Where it writes to. Where it is no terminal, a task that is silent for `heartbeat` ms is said to go on. */
export type Output = { terminal?: boolean; write?: (text: string) => void; heartbeat?: number }

/** Milliseconds between two lines about one task where they stay on the screen. */
const quiet = 2000

const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`

/** Writes to stderr: one live line on a terminal, else a timestamped line for each event. */
export const createProgress = ({
  terminal = process.stderr.isTTY,
  write = (text) => void process.stderr.write(text),
  heartbeat = 20_000
}: Output = {}): Progress => {
  const running = new Map<string, string>()
  const taken: { name: string; ms: number }[] = []
  const spinner = terminal ? ora({ stream: process.stderr, discardStdin: false, hideCursor: false }) : undefined

  const draw = (): void => {
    if (!spinner) return
    if (running.size === 0) {
      spinner.stop()
      return
    }
    const width = (process.stderr.columns ?? 80) - 4
    spinner.text = [...running].map(([name, text]) => (text ? `${name}: ${text}` : name)).join(' · ').slice(0, width)
    if (!spinner.isSpinning) spinner.start()
  }
  const line = (mark: string, text: string): void => {
    if (!spinner) {
      write(`${new Date().toISOString().slice(11, 19)} ${mark} ${text}\n`)
      return
    }
    spinner.stop()
    write(`${mark} ${text}\n`)
    draw()
  }

  const task: Progress['task'] = async (name, work) => {
    const began = performance.now()
    running.set(name, '')
    if (spinner) draw()
    else line('…', name)
    let told = began
    const beat = spinner ? undefined : setInterval(() => {
      const doing = running.get(name)?.replace(/ *\.\.\.$/, '') || 'at work'
      line('…', `${name}: ${doing}, ${Math.round((performance.now() - began) / 1000)} s so far`)
    }, heartbeat)
    const say = (text: string): void => {
      if (running.get(name) === text) return
      running.set(name, text)
      if (spinner) draw()
      else if (performance.now() - told > quiet) {
        told = performance.now()
        line('…', `${name}: ${text}`)
        beat?.refresh()
      }
    }
    try {
      const result = await work(say)
      const ms = performance.now() - began
      taken.push({ name, ms })
      running.delete(name)
      if (ms >= 100 || !spinner) line('✓', `${name}  ${seconds(ms)}`)
      else draw()
      return result
    } catch (error) {
      running.delete(name)
      line('✗', `${name}  ${seconds(performance.now() - began)}`)
      throw error
    } finally {
      clearInterval(beat)
    }
  }

  const durations = (): string => {
    const long = taken.filter(({ ms }) => ms >= 5000).sort((a, b) => b.ms - a.ms)
    if (long.length === 0) return ''
    const rows = renderColumns(long.map(({ name, ms }) => [name, seconds(ms)]), ['left', 'right'], { least: [0, 8] })
    const title = 'What took the time, some of it at once (images and builds are kept for the next start):'
    return [title, ...rows.map((row) => `  ${row}`)].join('\n')
  }

  return { task, note: (text) => line('·', text), durations }
}
