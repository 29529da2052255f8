export type Align = 'left' | 'right'

type Options = {
  /** Blanks between two columns. */
  gap?: number
  /** The least width of each column, 0 where left out. */
  least?: number[]
}

/**
 * The rows as lines: each column is as wide as its widest cell, without blanks at the end of a line. Columns are aligned
 * left by default. Colour the lines, not the cells: colour codes would count as characters.
 */
export const renderColumns = (rows: string[][], align: Align[] = [], { gap = 2, least = [] }: Options = {}): string[] => {
  const columns = Math.max(0, ...rows.map((row) => row.length))
  const widths = Array.from({ length: columns }, (_, column) =>
    Math.max(least[column] ?? 0, ...rows.map((row) => row[column]?.length ?? 0)))
  const pad = (cell: string, column: number): string =>
    align[column] === 'right' ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!)
  return rows.map((row) => row.map(pad).join(' '.repeat(gap)).trimEnd())
}
