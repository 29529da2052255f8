import { readFile } from 'node:fs/promises'
import { type Fault, isMissing, UsageError } from '../base/errors.mts'

/** A text file as it was, without its byte order mark and with plain line ends. */
export type Text = { lines: string[]; bom: boolean; crlf: boolean }

const SAVE = 'Save it as UTF-8 without a byte order mark.'

const unreadable = (error: unknown): Pick<Fault, 'expected' | 'remedy'> => {
  if (isMissing(error)) return { expected: 'a file that exists', remedy: 'Correct the path.' }
  const code = error instanceof Error && 'code' in error ? String(error.code) : String(error)
  if (code === 'EISDIR') return { expected: 'a file, not a folder', remedy: 'Name the file inside it.' }
  return { expected: `a readable file (${code})`, remedy: 'Make it readable for the user who runs this.' }
}

const read = async (file: string): Promise<Buffer> => {
  try {
    return await readFile(file)
  } catch (error) {
    throw new UsageError([{ file, what: 'file', ...unreadable(error) }])
  }
}

const NEWLINE = 0x0a

const splitLines = (bytes: Buffer): Buffer[] => {
  const lines: Buffer[] = []
  let start = 0
  for (let end = bytes.indexOf(NEWLINE); end >= 0; end = bytes.indexOf(NEWLINE, start)) {
    lines.push(bytes.subarray(start, end))
    start = end + 1
  }
  return [...lines, bytes.subarray(start)]
}

const decode = (file: string, bytes: Buffer, line: number, faults: Fault[]): string => {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    faults.push({ file, line, what: 'encoding', value: bytes.toString('latin1'), expected: 'UTF-8', remedy: SAVE })
    return ''
  }
}

const isUtf16 = (bytes: Buffer) => /^(fffe|feff)/.test(bytes.subarray(0, 2).toString('hex'))

/**
 * Reads a file that people edit on any system: a UTF-8 byte order mark and CRLF are removed, with a note.
 * Throws a UsageError for a file that is not readable UTF-8 text.
 */
export const readText = async (file: string): Promise<Text> => {
  const bytes = await read(file)
  if (isUtf16(bytes)) {
    throw new UsageError([{ file, line: 1, what: 'encoding', value: 'UTF-16', expected: 'UTF-8', remedy: SAVE }])
  }
  const faults: Fault[] = []
  const raw = splitLines(bytes).map((line, index) => decode(file, line, index + 1, faults))
  if (faults.length > 0) throw new UsageError(faults)
  const bom = raw[0]?.startsWith('\ufeff') ?? false
  const crlf = raw.some((line) => line.endsWith('\r'))
  const lines = raw.map((line) => line.replace(/\r$/, ''))
  return { lines: bom ? [lines[0]?.slice(1) ?? '', ...lines.slice(1)] : lines, bom, crlf }
}
