import { appendFileSync } from 'node:fs'
import { messageOf } from '../base/errors.mts'

/**
 * Writes lines to a log file, with the time. A log that cannot be written any more ends no run and fails no host: `say` is
 * told once, and what follows is not logged.
 */
export const openLog = (file: string, say: (line: string) => void): ((line: string) => void) => {
  let lost = false
  return (line) => {
    if (lost) return
    try {
      appendFileSync(file, `${now()} ${line}\n`, { mode: 0o600 })
    } catch (error) {
      lost = true
      say(`The log is incomplete from here on: ${messageOf(error)}`)
    }
  }
}

/** The time as in logs, in UTC: 2026-11-22T10:31:04Z. */
export const now = (): string => `${new Date().toISOString().slice(0, 19)}Z`
