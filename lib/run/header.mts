import { readFileSync } from 'node:fs'

/** The header comment of a script, which is its help. */
export type Header = {
  /** All of it, without the comment signs. */
  lines: string[]
  /** What the script does: the paragraphs before the first field. */
  about: string
  /** "Needs", "Changes", "Undo", "Example", each in one line. */
  fields: Record<string, string>
}

/** Reads the header comment of a script. Its fields stand at the end: `Needs:   ...`, with further lines indented. */
export const readHeader = (file: string): Header => {
  const text = readFileSync(file, 'utf8').split('\n').slice(1)
  const lines = text.slice(0, text.findIndex((line) => !line.startsWith('//'))).map((line) => line.replace(/^\/\/ ?/, ''))
  const first = lines.findIndex((line) => /^[A-Z]\w+: /.test(line))
  const fields: Record<string, string> = {}
  let name = ''
  for (const line of lines.slice(first)) {
    const [, found, rest = line.trim()] = /^([A-Z]\w+): +(.*)$/.exec(line) ?? []
    name = found ?? name
    fields[name] = [fields[name], rest].filter(Boolean).join(' ')
  }
  return { lines, about: lines.slice(1, first).join('\n').trim(), fields }
}
