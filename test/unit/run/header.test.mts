import { globSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { readHeader } from '../../../lib/run/header.mts'

const folder = mkdtempSync(join(tmpdir(), 'keybuzz-header-'))
test.after(() => rmSync(folder, { recursive: true }))

const written = (text: string): string => {
  const file = join(folder, 'script.mts')
  writeFileSync(file, text)
  return file
}

const made = `#!/usr/bin/env node
// 09_k3s_99  Do nothing
//
// Does nothing at all. An aside: it does it well.
//
// And a second paragraph.
//
// Needs:   09_k3s_98, and
//          patience.
// Changes: nothing.
// Example: ./99.mts --plan

// A comment of the code.
const Undo = 1
`

test('fields go over several lines, each in one', () => {
  assert.equal(readHeader(written(made)).fields, {
    Needs: '09_k3s_98, and patience.', Changes: 'nothing.', Example: './99.mts --plan'
  })
})

test('what the script does stands between its title and the first field', () => {
  assert.is(readHeader(written(made)).about, 'Does nothing at all. An aside: it does it well.\n\nAnd a second paragraph.')
})

test('the whole of it is the help, without the comment signs, and nothing of the code', () => {
  const { lines } = readHeader(written(made))
  assert.equal([lines[0], lines[1], lines.at(-1)], ['09_k3s_99  Do nothing', '', 'Example: ./99.mts --plan'])
  assert.is(lines.length, 10)
})

const root = join(import.meta.dirname, '../../..')
const scripts = globSync('09_*.mts', { cwd: root }).toSorted()

test('all scripts are there', () => {
  assert.ok(scripts.length >= 8, scripts.join(', '))
})

for (const name of scripts) {
  test(`the header of ${name} says what it does, needs and changes, with an example of its own`, () => {
    const { lines, about, fields } = readHeader(join(root, name))
    assert.match(lines[0]!, /^09_k3s_\w+  [A-Z]/)
    assert.ok(name.startsWith(lines[0]!.split(' ')[0]!), lines[0])
    assert.ok(about.length > 50, about)
    assert.equal(Object.keys(fields).filter((field) => field !== 'Undo'), ['Needs', 'Changes', 'Example'])
    for (const text of Object.values(fields)) assert.ok(text.length > 5, text)
    assert.ok(fields['Example']!.startsWith(`./${basename(name)}`), fields['Example'])
  })
}

test.run()
