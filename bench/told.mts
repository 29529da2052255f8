import type { Outcome } from '../lib/hosts.mts'

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
