import { execFileSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'

const root = join(import.meta.dirname, '../..')
const folder = mkdtempSync(join(tmpdir(), 'keybuzz-line-ends-'))
test.after(() => rmSync(folder, { recursive: true }))

const git = (...args: string[]): void => {
  const env = { PATH: process.env['PATH'], HOME: folder, GIT_CONFIG_NOSYSTEM: '1' }
  execFileSync('git', ['-c', 'user.name=test', '-c', 'user.email=test@example.com', ...args], { cwd: folder, env, stdio: 'pipe' })
}

test('a checkout has the line ends of the repository, whatever core.autocrlf says', () => {
  const files = ['09_k3s_apply_all.mts', 'lib/run/start.sh', 'manifests/02_control_plane/audit-policy.yaml', 'test/fixtures/inventory/line-ends-of-old-macintosh.tsv']
  git('init', '--quiet', 'from')
  for (const file of ['.gitattributes', 'test/fixtures/.gitattributes', ...files]) cpSync(join(root, file), join(folder, 'from', file))
  git('-C', 'from', 'add', '--all')
  git('-C', 'from', 'commit', '--quiet', '--message', 'all')
  git('-c', 'core.autocrlf=true', '-c', 'core.eol=crlf', 'clone', '--quiet', 'from', 'to')
  for (const file of files) assert.equal(readFileSync(join(folder, 'to', file)), readFileSync(join(root, file)), file)
})

test.run()
