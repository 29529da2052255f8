import type { Outcome } from '../lib/run/modes.mts'
import { median } from './numbers.mts'

/** What a script says with --json. */
export type Told = {
  exitCode: number
  seconds: number
  ssh: { connections: number; commands: number }
  scripts: { id: string; seconds: number; hosts: Record<string, Outcome[]> }[]
}

/** Reads it; where there is none, an error with the last lines of what the script said instead. */
export const parseTold = (stdout: string, stderr: string): Told => {
  try {
    return JSON.parse(stdout) as Told
  } catch {
    throw new Error(`the script ended without a result:\n${stderr.trim().split('\n').slice(-8).join('\n')}`)
  }
}

/** A run of apply_all over the eight nodes, over connections that it had to make: medians where there were more. */
export type LabResult = {
  /** Wall time, with the start of Node. */
  seconds: number
  rounds: number[]
  connections: number
  commands: number
  changes: number
  /** Seconds that each script took, by its id; a plan of all comes before them, and is in `seconds` only. */
  scripts: Record<string, number>
}

/** Seconds that these scripts took together; one that did not run took none. */
export const secondsOf = ({ scripts }: Pick<LabResult, 'scripts'>, ids: string[]): number =>
  ids.reduce((sum, id) => sum + (scripts[id] ?? 0), 0)

/** A run with its wall time in seconds. */
export type Timed = { seconds: number; told: Told }

const outcomes = ({ scripts }: Told) =>
  scripts.flatMap(({ hosts }) => Object.entries(hosts).flatMap(([host, all]) => all.map((one) => ({ host, ...one }))))

/** What failed in a run, a line each. */
export const failures = (told: Told): string[] =>
  outcomes(told)
    .filter(({ result }) => result === 'failed')
    .map(({ host, step, words }) => `${host} ${step}: ${words ?? ''}`)

/** One result of several runs of the same kind. */
export const summary = (runs: Timed[]): LabResult => {
  const tolds = runs.map(({ told }) => told)
  const ids = tolds[0]?.scripts.map(({ id }) => id) ?? []
  return {
    seconds: median(runs.map(({ seconds }) => seconds)),
    rounds: runs.map(({ seconds }) => seconds),
    connections: median(tolds.map(({ ssh }) => ssh.connections)),
    commands: median(tolds.map(({ ssh }) => ssh.commands)),
    changes: median(tolds.map((told) => outcomes(told).filter(({ result }) => result === 'changed').length)),
    scripts: Object.fromEntries(
      ids.map((id) => [id, median(tolds.map(({ scripts }) => scripts.find((one) => one.id === id)?.seconds ?? NaN))])
    )
  }
}
