import { spawnSync } from 'node:child_process'
import { chmodSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'

/** Runs shell as a node would, on this machine: for what only reads, or only touches a folder of the test. */
export const onNode = (shell: string, { path = [] as string[] } = {}): { stdout: string; stderr: string; code: number | null } => {
  const env = { ...process.env, PATH: [...path, process.env['PATH']].join(delimiter) }
  const input = `main() {\nset -euo pipefail\n${shell}\n}\nmain </dev/null\n`
  const { stdout, stderr, status } = spawnSync('bash', ['-s'], { input, env, encoding: 'utf8' })
  return { stdout: stdout.trim(), stderr: stderr.trim(), code: status }
}

/** A folder for PATH with commands that a test makes up: `{ ip: 'echo eth0' }`. */
export const commands = (texts: Record<string, string>): string => {
  const folder = mkdtempSync(join(tmpdir(), 'keybuzz-commands-'))
  for (const [name, text] of Object.entries(texts)) {
    writeFileSync(join(folder, name), `#!/bin/bash\n${text}\n`)
    chmodSync(join(folder, name), 0o755)
  }
  return folder
}

/** What bash thinks of shell that is not run: '' where it can be read. */
export const unreadable = (shell: string): string => spawnSync('bash', ['-n'], { input: shell, encoding: 'utf8' }).stderr
