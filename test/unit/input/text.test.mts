import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { UsageError } from '../../../lib/base/errors.mts'
import { readText } from '../../../lib/input/text.mts'

const folder = await mkdtemp(join(tmpdir(), 'text-'))
test.after(() => rm(folder, { recursive: true }))

const read = async (content: string | Buffer) => {
  const file = join(folder, crypto.randomUUID())
  await writeFile(file, content)
  return readText(file)
}

const faultsOf = async (reading: Promise<unknown>): Promise<string[]> => {
  const error = await reading.then(() => undefined, (thrown: unknown) => thrown)
  assert.instance(error, UsageError)
  return (error as UsageError).faults.map(({ line, what, value = '', expected }) => `${line ?? '-'} ${what} ${value}: ${expected}`)
}

test('the lines of a file, the last one too where nothing ends it', async () => {
  assert.equal(await read('a\n\nb'), { lines: ['a', '', 'b'], bom: false, crlf: false })
  assert.equal((await read('a\n')).lines, ['a', ''])
})

test('a byte order mark and CRLF are taken off and told', async () => {
  assert.equal(await read('\ufeffa\r\nb\n'), { lines: ['a', 'b', ''], bom: true, crlf: true })
})

test('a mark or a carriage return inside the text is left where it is', async () => {
  assert.equal(await read('a\ufeff\nb\rc\n'), { lines: ['a\ufeff', 'b\rc', ''], bom: false, crlf: false })
})

test('every line that is no UTF-8 is a fault', async () => {
  assert.equal(await faultsOf(read(Buffer.from('a\nn\u00b0\nb\n\u00e9\n', 'latin1'))), [
    '2 encoding n\u00b0: UTF-8', '4 encoding \u00e9: UTF-8'
  ])
  assert.equal(await faultsOf(read(Buffer.from('\ufeffa', 'utf16le'))), ['1 encoding UTF-16: UTF-8'])
})

test('a path that is no file', async () => {
  assert.equal(await faultsOf(readText(join(folder, 'nothing'))), ['- file : a file that exists'])
  assert.equal(await faultsOf(readText(folder)), ['- file : a file, not a folder'])
  assert.equal(await faultsOf(readText(join(import.meta.filename, 'x'))), ['- file : a readable file (ENOTDIR)'])
})

test.run()
