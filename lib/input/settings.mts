import type { z } from 'zod'
import { type Fault, UsageError } from '../base/errors.mts'
import { conflicts } from './rules.mts'
import type { Problem } from './rules/conflict.mts'
import { defaultSettings, schema, type Settings } from './schema.mts'
import type { Host } from './inventory.mts'
import { closest } from '../base/words.mts'
import { type Path, pathText, readYaml, valueAt, type Yaml } from './yaml.mts'

export { defaultSettings, type Settings }

const keysOf = (value: unknown): string[] =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? Object.keys(value) : []

/** The sections that have a key of that name. */
const homeOf = (name: string, here: unknown = defaultSettings(), path: Path = []): Path[] =>
  keysOf(here).flatMap((key) => [
    ...(key === name && path.length > 0 ? [path] : []),
    ...homeOf(name, valueAt(here, [key]), [...path, key])
  ])

/** A key of more sections, such as port, says little about where it was to be. */
const MOST_HOMES = 3

/** The settings with an item in each list of sections, which has none by default. */
const example = (): Settings => schema.parse({ tenants: [{ name: 'example' }] })

const unknownKey = (path: Path, key: string): Problem => {
  const isInList = path.some((part) => typeof part === 'number')
  const siblings = keysOf(valueAt(example(), path.map((part) => (typeof part === 'number' ? 0 : part))))
  const near = closest(key, siblings)
  const homes = isInList ? [] : homeOf(key).map(pathText)
  const remedy = near ? `Did you mean ${near}?`
    : homes.length > 0 && homes.length <= MOST_HOMES ? `It belongs under ${homes.join(' or ')}.`
      : `The keys here are ${siblings.join(', ')}.`
  return { path: [...path, key], expected: 'a key that is known', remedy, key: true }
}

const toProblems = (issue: z.core.$ZodIssue): Problem[] => {
  const path = issue.path.filter((key) => typeof key !== 'symbol')
  if (issue.code === 'unrecognized_keys') return issue.keys.map((key) => unknownKey(path, key))
  return [{ path, expected: issue.message, remedy: issue.code === 'custom' ? issue.params?.['remedy'] : undefined }]
}

const startsWith = (path: Path, start: Path) => start.every((key, index) => path[index] === key)

/** The first problem of each path. */
const firstOfEach = (problems: Problem[]) =>
  problems.filter(({ path }, index) => problems.findIndex((other) => pathText(other.path) === pathText(path)) === index)

/** The data without the faulty values, so that the rest can be checked. */
const without = (data: unknown, problems: Problem[]): unknown => {
  const copy: unknown = structuredClone(data)
  for (const { path } of problems) {
    // A list is checked as a whole: without one item the others would move.
    const index = path.findIndex((key) => typeof key === 'number')
    const whole = index < 0 ? path : path.slice(0, index)
    const parent = valueAt(copy, whole.slice(0, -1))
    if (typeof parent === 'object' && parent !== null) Reflect.deleteProperty(parent, String(whole.at(-1)))
  }
  return copy
}

const judge = (data: unknown): { settings?: Settings; problems: Problem[] } => {
  const result = schema.safeParse(data)
  const problems = result.success ? [] : firstOfEach(result.error.issues.flatMap(toProblems))
  const rest = result.success ? result : schema.safeParse(without(data, problems))
  if (!rest.success) return { problems }
  const isFaulty = (path: Path) =>
    problems.some((problem) => startsWith(problem.path, path) || startsWith(path, problem.path))
  const more = conflicts(rest.data).filter(({ uses }) => !uses.some(isFaulty))
  const all = [...problems, ...more]
  return all.length > 0 ? { problems: all } : { settings: rest.data, problems: [] }
}

const defaultRemedy = (path: Path): string => {
  const index = path.findIndex((key) => typeof key === 'number')
  if (index >= 0) return 'Correct the item, or delete it.'
  const value = valueAt(defaultSettings(), path)
  if (value === undefined) return 'Correct the value.'
  if (keysOf(value).length > 0) return `The keys below it are ${keysOf(value).join(', ')}.`
  const shown = typeof value === 'string' && value !== '' ? value : JSON.stringify(value)
  return `Correct the value, or delete the key to get the default ${shown}.`
}

const toFault = (file: string, yaml: Yaml, problem: Problem & { uses?: Path[] }): Fault => {
  const { path, expected, key, uses = [] } = problem
  const place = key ? yaml.keyPlace(path) : yaml.place(path)
  const near = [...uses, path.slice(0, -1)]
  const line = place?.line ?? near.map((use) => yaml.place(use)?.line).find((found) => found !== undefined)
  const written = { what: pathText(path) || 'file', ...(key || !place ? {} : { value: place.value }) }
  // The setting at fault may not be in the file. An item of a list has keys without a default.
  const byDefault = valueAt(defaultSettings(), path)
  const left = byDefault === undefined
    ? { what: pathText(path) }
    : { what: `${pathText(path)} (default)`, value: String(byDefault) }
  return {
    file, ...(line === undefined ? {} : { line }), ...(place || key ? written : left),
    expected, remedy: problem.remedy ?? defaultRemedy(path)
  }
}

/**
 * Reads settings.yaml. A key that is left out has its default. An unknown or repeated key is a fault.
 * Throws a UsageError with all faults of the file, each with its line.
 */
export const readSettings = async (file: string): Promise<Settings> => {
  const yaml = await readYaml(file)
  const { settings, problems } = judge(yaml.data)
  const faults = [...yaml.faults, ...problems.map((problem) => toFault(file, yaml, problem))]
  if (!settings || faults.length > 0) {
    throw new UsageError(faults.toSorted((a, b) => (a.line ?? 0) - (b.line ?? 0)))
  }
  return settings
}

/** The API's address for everybody except the servers themselves: the load balancer in front of them. */
export const apiUrl = ({ load_balancers: { api } }: Settings): string => `https://${api.address}:${api.port}`

/** Vault's address, as the bastion, the pods and Prometheus use it. */
export const vaultUrl = ({ backends: { vault: { address, port, tls } } }: Settings): string => `${tls ? 'https' : 'http'}://${address}:${port}`

/** A server's own API. */
export const serverUrl = ({ address }: Pick<Host, 'address'>): string => `https://${address}:6443`

/** The context of the bastion's kubeconfig that the scripts keep. */
export const contextOf = ({ environment }: Settings): string => `keybuzz-${environment}`
