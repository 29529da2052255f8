import {
  isAlias, isMap, isScalar, isSeq, LineCounter, type Node, parseDocument, type YAMLError, type YAMLWarning
} from 'yaml'
import { type Fault, messageOf, UsageError } from '../base/errors.mts'
import { readText } from './text.mts'

export type Path = (string | number)[]

/** `network.nameservers[1]` */
export const pathText = (path: Path) =>
  path.map((key, index) => (typeof key === 'number' ? `[${key}]` : `${index === 0 ? '' : '.'}${key}`)).join('')

/** What the data holds at the path, or undefined. */
export const valueAt = (data: unknown, path: Path): unknown =>
  path.reduce<unknown>((value, key) => (value as Record<string, unknown> | undefined | null)?.[String(key)], data)

/** Where something stands in a YAML file: its line, and the text that was written there. */
export type Place = { line: number; value: string }

export type Yaml = {
  data: unknown
  /** Where the value at the path stands, or undefined if the file does not hold it. */
  place: (path: Path) => Place | undefined
  /** Where the key itself stands. */
  keyPlace: (path: Path) => Place | undefined
  /** Keys that are there twice. The rest of the file can still be checked. */
  faults: Fault[]
}

const describe = ({ code, message }: YAMLError | YAMLWarning): Pick<Fault, 'what' | 'expected' | 'remedy'> => {
  if (code === 'DUPLICATE_KEY') {
    return { what: 'key', expected: 'each key once', remedy: 'Delete one of the two.' }
  }
  if (code === 'TAB_AS_INDENT') {
    return { what: 'indentation', expected: 'spaces', remedy: 'Replace each tab at the start of the line by spaces.' }
  }
  if (code === 'MULTIPLE_DOCS') {
    return { what: 'document', expected: 'one document', remedy: 'Delete the line, and what follows it.' }
  }
  const [problem = message] = message.split('\n')
  return { what: 'YAML', expected: `what YAML allows (${problem.replace(/\.$/, '')})`, remedy: 'Correct the syntax.' }
}

/** Reads one YAML document. Throws a UsageError where it is not YAML. */
export const readYaml = async (file: string): Promise<Yaml> => {
  const { lines } = await readText(file)
  const text = lines.join('\n')
  const counter = new LineCounter()
  const doc = parseDocument(text, { lineCounter: counter, prettyErrors: false, logLevel: 'error' })
  const lineOf = (offset: number) => counter.linePos(offset).line

  const problems = [...doc.errors, ...doc.warnings]
  const faults = problems.map((problem) => {
    const line = lineOf(problem.pos[0])
    return { file, line, value: lines[line - 1]?.trim() ?? '', ...describe(problem) }
  })
  if (problems.some(({ code }) => code !== 'DUPLICATE_KEY')) throw new UsageError(faults)

  const data = ((): unknown => {
    try {
      return doc.toJS()
    } catch (error) {
      // Aliases are only resolved here: an anchor may be missing, or there are so many that they would fill the memory.
      const reason = messageOf(error)
      const line = lines.findIndex((text) => /(^|[\s[{,:-])\*\S/.test(text)) + 1
      throw new UsageError([{
        file, ...(line > 0 ? { line, value: lines[line - 1]?.trim() ?? '' } : {}), what: 'alias',
        expected: `what YAML allows (${reason})`, remedy: 'Write the value itself.'
      }])
    }
  })()
  const resolve = (node: unknown): unknown => (isAlias(node) ? node.resolve(doc) : node)
  const step = (node: unknown, key: string | number): { key: unknown; value: unknown } | undefined => {
    const here = resolve(node)
    if (isMap(here)) return here.items.find((pair) => isScalar(pair.key) && String(pair.key.value) === String(key))
    if (isSeq(here) && typeof key === 'number') return { key: here.items[key], value: here.items[key] }
    return undefined
  }
  const find = (path: Path) => {
    let pair: { key: unknown; value: unknown } | undefined = { key: doc.contents, value: doc.contents }
    for (const key of path) pair = pair && step(pair.value, key)
    return pair
  }
  const placeOf = (node: unknown): Place | undefined => {
    const [start, end] = (node as Node | null | undefined)?.range ?? []
    if (start === undefined || end === undefined) return undefined
    return { line: lineOf(start), value: text.slice(start, end).trim().replace(/\s+/g, ' ') }
  }
  return {
    data,
    place: (path) => placeOf(find(path)?.value),
    keyPlace: (path) => placeOf(find(path)?.key),
    faults
  }
}
