import { closeSync, mkdirSync, openSync, rmSync, statSync, writeSync } from 'node:fs'
import { userInfo } from 'node:os'
import { isAbsolute, join } from 'node:path'
import { spawnSync } from 'node:child_process'
import { sshEnvironment } from '../base/environment.mts'
import { type Fault, isMissing, messageOf, UsageError } from '../base/errors.mts'
import { home } from '../base/home.mts'
import { misuse } from './flags.mts'

/** A flag that names a file to write, and the file. */
export type Output = { flag: string; file: string }

/**
 * Throws a UsageError with all that this machine lacks for a run, before anything is done: a user whom ssh knows, ssh, a
 * home where logs and secrets can be written, and the files that flags name.
 */
export const preflight = (outputs: Output[]): void => {
  // Our own files can be read by us, whatever the umask says; for others it holds.
  process.umask(process.umask(0o077) & 0o077)
  const faults = [...userFaults(), ...sshFaults(), ...homeFaults(), ...outputFaults(outputs)]
  if (faults.length > 0) throw new UsageError(faults)
}

/** The faults of files that flags name: each is opened for writing. One that was not there is not there afterwards. */
export const outputFaults = (outputs: Output[]): Fault[] => outputs.flatMap(({ flag, file }) => {
  const why = whyNot(file)
  return why === '' ? [] : [misuse(flag, `a file that can be written (${why})`, 'Name another one.', file)]
})

/** The fault of a user without an entry in /etc/passwd. */
export const userFaults = (): Fault[] => {
  try {
    userInfo()
    return []
  } catch {
    return [{
      file: 'this machine', what: 'user', value: String(process.getuid?.()), expected: 'an entry in /etc/passwd, without which ssh refuses to start',
      remedy: 'Add one, or run it as another user.'
    }]
  }
}

const sshFaults = (): Fault[] => {
  const { error } = spawnSync('ssh', ['-V'], { env: sshEnvironment(), timeout: 10_000 })
  return error === undefined ? [] : [{
    file: 'this machine', what: 'ssh', expected: `OpenSSH's client in PATH (${reasonOf(error)})`, remedy: 'Install openssh-client.'
  }]
}

const homeFaults = (): Fault[] => {
  const folder = home('logs')
  const fault = (expected: string): Fault[] =>
    [{ file: 'this machine', what: 'HOME', value: folder, expected, remedy: 'Mend it, or set HOME to another folder.' }]
  if (!isAbsolute(folder)) return fault('an absolute path')
  const file = join(folder, `.${process.pid}`)
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 })
  } catch (error) {
    return fault(`a folder that can be made (${reasonOf(error)})`)
  }
  const why = whyNot(file)
  return why === '' ? [] : fault(`a folder that can be written (${why})`)
}

// A new file is written to: on a full disk it can still be made.
const whyNot = (file: string): string => {
  try {
    if (exists(file)) closeSync(openSync(file, statSync(file).isFile() ? 'r+' : 'a'))
    else {
      const handle = openSync(file, 'wx', 0o600)
      try {
        writeSync(handle, 'x'.repeat(4096))
      } finally {
        closeSync(handle)
        rmSync(file)
      }
    }
    return ''
  } catch (error) {
    return reasonOf(error)
  }
}

const exists = (file: string): boolean => {
  try {
    statSync(file)
    return true
  } catch (error) {
    if (isMissing(error)) return false
    throw error
  }
}

/** "ENOSPC: no space left on device" of Node's message, without the call and the path. */
const reasonOf = (error: unknown): string => messageOf(error).split(', ')[0]!
