import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { UsageError } from '../../../lib/base/errors.mts'
import { readTable } from '../../../lib/input/tsv.mts'

const folder = await mkdtemp(join(tmpdir(), 'tsv-'))
test.after(() => rm(folder, { recursive: true }))

const read = async (text: string) => {
  const file = join(folder, crypto.randomUUID())
  await writeFile(file, text)
  return readTable(file, ['NAME', 'SIZE', 'NOTES'], [3, 4])
}

const faultsOf = async (text: string): Promise<string[]> => {
  const error = await read(text).then(() => undefined, (thrown: unknown) => thrown)
  assert.instance(error, UsageError)
  return (error as UsageError).faults.map(({ line, what, expected }) => `${line ?? '-'} ${what}: ${expected}`)
}

test('rows by the names of their columns; what no column names is not read', async () => {
  const { rows } = await read('NAME\tSIZE\tNOTES\tMORE\n\na\t\t"quoted"\tx\n')
  assert.equal(rows, [{ line: 3, fields: { NAME: 'a', SIZE: '', NOTES: '"quoted"' } }])
})

test('a row of another width is a fault and no row; the others are read', async () => {
  const { rows, faults } = await read('NAME\tSIZE\tNOTES\na\t1\nb\t2\t\nc\t3\t\t\nd 4 x\n')
  assert.equal(rows.map(({ fields }) => fields.NAME), ['b'])
  assert.equal(faults.map(({ line, expected }) => `${line} ${expected}`), [
    '2 3 columns as in the header, found 2', '4 3 columns as in the header, found 4', '5 3 columns as in the header, found 1'
  ])
  assert.equal(faults.map(({ remedy }) => remedy.includes('into spaces')), [false, false, true])
})

test('a header that is misspelt is told by its columns, and one that is none as a whole', async () => {
  assert.equal(await faultsOf('NAME\tsize\tNOTES\n'), ['1 header column 2: SIZE'])
  assert.equal(await faultsOf('a\tb\tc\n'), ['1 header: the names of the columns'])
  assert.equal(await faultsOf('NAME\tSIZE\n'), ['1 header: 3 or 4 columns, found 2'])
})

test('a file without a line, and one with a NUL, cannot be read', async () => {
  assert.equal(await faultsOf('\n  \n'), ['- file: a header and rows, found nothing'])
  assert.equal(await faultsOf('NAME\tSIZE\tNOTES\na\t\0\t\n'), ['2 row: no carriage return or NUL inside a line'])
})

test.run()
