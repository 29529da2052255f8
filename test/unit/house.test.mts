// How the project is laid out: layers of lib, a test for each file, the list of scripts, and what a script may be.
import { existsSync, globSync, readFileSync } from 'node:fs'
import { basename, dirname, join, relative } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { allScripts } from '../../09_k3s_09_final_validation.mts'
import { rows } from '../../bench/rows.mts'

const root = join(import.meta.dirname, '../..')
const read = (file: string): string => readFileSync(join(root, file), 'utf8')
const files = globSync('lib/**/*.mts', { cwd: root }).toSorted()
const scriptFiles = globSync('09_k3s_*.mts', { cwd: root }).toSorted()

// A file imports from its own folder and from those above it. Folders of one line do not know each other.
const layers = [['base'], ['input'], ['reach'], ['run'], ['node'], ['cluster'], ['secrets'], ['vault'], ['ingress', 'drill', 'validation', 'apps', 'monitoring']]

test('a file of lib imports only from its own folder and from the layers above', () => {
  const folderOf = (file: string): string => file.split('/')[1]!
  const rank = (folder: string): number => layers.findIndex((layer) => layer.includes(folder))
  const wrong = files.flatMap((file) =>
    [...read(file).matchAll(/(?:from|import\() ?'(\.[^']+)'/g)].flatMap(([, path = '']) => {
      const other = relative(root, join(root, dirname(file), path))
      if (!other.startsWith('lib/')) return [`${file} -> ${other}`]
      const [own, theirs] = [folderOf(file), folderOf(other)]
      return own === theirs || (rank(theirs) !== -1 && rank(theirs) < rank(own)) ? [] : [`${file} -> ${other}`]
    }))
  assert.equal(wrong, [])
  assert.ok(files.every((file) => rank(folderOf(file)) !== -1), 'a folder of lib is in no layer')
})

// Without a test of their own, each for a reason.
const schema = 'a declaration; each of its rules is a fixture of inputs.test, its defaults are in settings.test'
const untested: Record<string, string> = {
  'lib/input/schema/addons.mts': schema,
  'lib/input/schema/apps.mts': schema,
  'lib/input/schema/backends.mts': schema,
  'lib/input/schema/ingress.mts': schema,
  'lib/input/schema/k3s.mts': schema,
  'lib/input/schema/monitoring.mts': schema,
  'lib/input/schema/network.mts': schema,
  'lib/input/schema/nodes.mts': schema,
  'lib/input/schema/tenants.mts': schema,
  'lib/input/schema/vault.mts': schema
}

test('every file of lib has a unit test of its name', () => {
  const hasTest = (file: string): boolean => existsSync(join(root, file.replace(/^lib/, 'test/unit').replace('.mts', '.test.mts')))
  assert.equal(files.filter((file) => !hasTest(file)), Object.keys(untested).toSorted())
})

test('lib keeps nothing between runs but the register of secrets', () => {
  const global = files.filter((file) => /^(export )?let |^(export )?const \w+ = new (Map|Set)(<.*>)?\(\)/m.test(read(file)))
  assert.equal(global, ['lib/input/secrets.mts'])
})

test('programs of the bastion are started in one place, which decides what they get of its environment', () => {
  const starts = (text: string): boolean => /import [^\n]*(\$[^\n]* from 'zx'|from 'execa'|from 'node:child_process')/.test(text)
  const wrong = [...files, ...scriptFiles].filter((file) => starts(read(file)))
  assert.equal(wrong, ['lib/base/environment.mts', 'lib/reach/ssh.mts', 'lib/run/preflight.mts'])
  for (const file of wrong.slice(1)) assert.match(read(file), /sshEnvironment\(\)/)
})

test('every numbered script is in the list, in order', () => {
  assert.equal(allScripts.map(({ file }) => basename(file)), scriptFiles.filter((file) => /^09_k3s_\d\d_/.test(file)))
  assert.equal(allScripts.map(({ id }) => id), allScripts.map(({ file }) => basename(file).slice(0, '09_k3s_01'.length)))
})

test("every script is in README's table, and has a page in docs that names it", () => {
  const table = [...read('README.md').matchAll(/^\| `(09_k3s_\w+\.mts)` \|/gm)].map(([, name]) => name)
  assert.equal(table.toSorted(), scriptFiles)
  const pages = globSync('docs/*.md', { cwd: root }).map((page) => read(page).split('\n').slice(0, 12).join('\n'))
  assert.equal(scriptFiles.filter((file) => !pages.some((page) => page.includes(file.replace('.mts', '')))), [])
})

test('every numbered script has a lab test that names it', () => {
  const tests = globSync('test/lab/{tests,long}/*.mts', { cwd: root }).map(read).join('\n')
  const ids = allScripts.map(({ file }) => basename(file, '.mts'))
  assert.equal(ids.filter((id) => !tests.includes(id)), [])
})

test('the benchmark has the seconds of every script', () => {
  const seconds = Object.fromEntries(allScripts.map(({ id }) => [id, 1]))
  const one = { seconds: 60, rounds: [60], connections: 1, commands: 1, changes: 0, scripts: seconds }
  const [, , each] = rows({ lab: { k3s: '', fresh: one, converged: one, plan: one } } as Parameters<typeof rows>[0])
  assert.is(each?.measured, allScripts.map(({ id }) => `${id.split('_').at(-1)} 1.0 s`).join(', '))
})

// What a script may be: its header, its story on one screen, and the steps that only it has. The rest has a name in lib.
const mostLines = 200
const mostOfStory = 60

test('a script fits on three screens, and its story on one', () => {
  const long = scriptFiles.flatMap((file) => {
    const lines = read(file).split('\n')
    const first = lines.findIndex((line) => line.startsWith('  story: '))
    const story = first === -1 ? 0 : lines.slice(first).findIndex((line) => line === '  }' || line === '  },') + 1
    return [
      ...(lines.length > mostLines ? [`${file} has ${lines.length} lines`] : []),
      ...(story > mostOfStory ? [`the story of ${file} has ${story} lines`] : [])
    ]
  })
  assert.equal(long, [])
})

test.run()
