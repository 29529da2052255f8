import { type Fault, UsageError } from '../base/errors.mts'
import { readText } from './text.mts'

/** A row by the names of its columns, every character literal. */
export type TableRow<Column extends string> = { line: number; fields: Record<Column, string> }

export type Table<Column extends string> = {
  rows: TableRow<Column>[]
  /** What is unusual about the file, but not a fault. */
  notes: string[]
  /** Rows with too few or too many columns. They are not in `rows`. */
  faults: Omit<Fault, 'file'>[]
}

type Line = { line: number; text: string; cells: string[] }

/** With more wrong columns than this the line is not a header. */
const MOST_MISSPELT = 2

const checkHeader = (header: Line, columns: readonly string[], widths: number[]): Omit<Fault, 'file'>[] => {
  const { line, text, cells } = header
  const remedy = `Start the file with the header ${columns.join(' ')}, with tabs between.`
  if (!widths.includes(cells.length)) {
    const expected = `${widths.join(' or ')} columns, found ${cells.length}`
    return [{ line, what: 'header', value: text, expected, remedy }]
  }
  const wrong = columns.flatMap((column, index) => {
    const value = cells[index] ?? ''
    if (value === column) return []
    return [{ line, what: `header column ${index + 1}`, value, expected: column, remedy: 'Correct the header.' }]
  })
  return wrong.length > MOST_MISSPELT
    ? [{ line, what: 'header', value: text, expected: 'the names of the columns', remedy }]
    : wrong
}

const checkCharacters = ({ line, text }: Line): Omit<Fault, 'file'>[] =>
  /[\0\r]/.test(text)
    ? [{
      line, what: 'row', value: text, expected: 'no carriage return or NUL inside a line',
      remedy: 'Save the file with LF (or CRLF) at the end of each line.'
    }]
    : []

const widthRemedy = ({ text, cells }: Line, width: number): string => {
  if (!text.includes('\t')) return 'Put tabs between the columns; an editor may have turned them into spaces.'
  return cells.length > width
    ? 'Put one tab between each two columns, and none inside one.'
    : 'Put one tab between each two columns; an editor may have cut off those of empty columns at the end.'
}

const checkWidth = (row: Line, width: number): Omit<Fault, 'file'>[] => {
  if (row.cells.length === width) return []
  const expected = `${width} columns as in the header, found ${row.cells.length}`
  return [{ line: row.line, what: 'row', value: row.text, expected, remedy: widthRemedy(row, width) }]
}

/**
 * Reads a tab-separated file whose header must start with the columns and have one of the widths: no quoting, empty
 * cells stay empty, blank lines are skipped. Throws a UsageError where header or encoding leave no row to read.
 */
export const readTable = async <Column extends string>(
  file: string,
  columns: readonly Column[],
  widths: number[]
): Promise<Table<Column>> => {
  const { lines, bom, crlf } = await readText(file)
  const [header, ...body] = lines
    .map((text, index) => ({ line: index + 1, text, cells: text.split('\t') }))
    .filter(({ text }) => text.trim() !== '')
  if (!header) {
    throw new UsageError([{
      file, what: 'file', expected: 'a header and rows, found nothing',
      remedy: 'Start from the servers.tsv that came with the scripts.'
    }])
  }
  const fail = (faults: Omit<Fault, 'file'>[]) => {
    if (faults.length > 0) throw new UsageError(faults.map((fault) => ({ file, ...fault })))
  }
  fail([header, ...body].flatMap(checkCharacters))
  fail(checkHeader(header, columns, widths))

  const width = header.cells.length
  const rows = body.filter(({ cells }) => cells.length === width).map(({ line, cells }) => ({
    line,
    fields: Object.fromEntries(columns.map((column, index) => [column, cells[index] ?? ''])) as Record<Column, string>
  }))
  return {
    rows,
    notes: [
      ...(bom ? [`${file} starts with a byte order mark, which was skipped`] : []),
      ...(crlf ? [`${file} has CRLF line ends, which were read as LF`] : [])
    ],
    faults: body.flatMap((row) => checkWidth(row, width))
  }
}
