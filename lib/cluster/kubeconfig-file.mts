import { createHash, randomUUID } from 'node:crypto'
import { lstat, mkdir, readFile, readlink, realpath, rename, rm, stat, writeFile } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { type Document, isNode, isScalar, LineCounter, parse, parseDocument, Scalar } from 'yaml'
import { type Fault, isMissing, UsageError } from '../base/errors.mts'

type Fields = Record<string, unknown>
type Named<Key extends string> = { name: string } & { [key in Key]?: Fields | null }

/** What a kubeconfig says. kubectl writes null for an empty list. */
export type Kubeconfig = {
  clusters?: Named<'cluster'>[] | null
  users?: Named<'user'>[] | null
  contexts?: Named<'context'>[] | null
  'current-context'?: string | null
}

/** A cluster and its administrator, as a context names them. */
export type Entry = { cluster: Record<string, string>; user: Record<string, string> }

/** The file as it is: its text, what it says, and whether others than its owner can read it. */
export type KubeconfigFile = { text: string; says: Kubeconfig; isPrivate: boolean }

const lists = { clusters: 'cluster', users: 'user', contexts: 'context' } as const

// Of our own entries these keys would change what is asked, or who asks (client-go, tools/clientcmd/api/v1/types.go).
const meddling = {
  cluster: ['tls-server-name', 'insecure-skip-tls-verify', 'certificate-authority', 'proxy-url'],
  user: ['client-certificate', 'client-key', 'token', 'tokenFile', 'as', 'as-uid', 'as-groups', 'as-user-extra', 'username', 'password', 'auth-provider', 'exec']
}

// kubectl reads YAML 1.1 (sigs.k8s.io/yaml, goyaml.v2/resolve.go), where no, on and 1e3 are no text. It takes dates for text.
const read = (text: string): unknown =>
  parse(text, { version: '1.1', logLevel: 'error', customTags: (tags) => tags.filter((tag) => typeof tag === 'string' || !/timestamp/.test(tag.tag)) })

const isFields = (value: unknown): value is Fields => typeof value === 'object' && value !== null && !Array.isArray(value)

/** Reads a kubeconfig; nothing where there is none. Throws a UsageError where kubectl could not read it, or it is another file. */
export const readKubeconfig = async (file: string): Promise<KubeconfigFile | undefined> => {
  try {
    const found = await stat(file)
    if (!found.isFile()) throw new UsageError([{ file, what: 'kubeconfig', expected: 'a file', remedy: 'Move it away.' }])
    const text = await readFile(file, 'utf8')
    const faults = faultsOf(file, text)
    if (faults.length > 0) throw new UsageError(faults)
    return { text, says: (read(text) ?? {}) as Kubeconfig, isPrivate: (found.mode & 0o077) === 0 }
  } catch (error) {
    if (isMissing(error)) return undefined
    throw error
  }
}

const faultsOf = (file: string, text: string): Fault[] => {
  const counter = new LineCounter()
  // Only text, so that nothing is written in another way than it was.
  const doc = parseDocument(text, { schema: 'failsafe', lineCounter: counter, prettyErrors: false, logLevel: 'error' })
  const lineAt = (offset: number): number => counter.linePos(offset).line
  const remedy = 'Correct it, or move the file away.'
  if (doc.errors.length > 0) {
    return doc.errors.map(({ message, pos }) => ({
      file, line: lineAt(pos[0]), what: 'YAML', expected: `what YAML allows (${message.split('\n')[0]?.replace(/\.$/, '')})`, remedy
    }))
  }
  const fault = (path: (string | number)[], expected: string): Fault => {
    const node = path.length === 0 ? doc.contents : doc.getIn(path, true)
    const [start = 0, end = 0] = (isNode(node) && node.range) || []
    const what = path.map((key) => (typeof key === 'number' ? `[${key}]` : `.${key}`)).join('').slice(1) || 'kubeconfig'
    return { file, line: lineAt(start), what, value: text.slice(start, end).trim().split('\n')[0] ?? '', expected, remedy }
  }
  const says = read(text) ?? {}
  if (!isFields(says)) return [fault([], 'what kubectl writes: apiVersion, kind, clusters, contexts, users')]
  const ours = ['apiVersion', 'kind', 'current-context', ...Object.keys(lists)]
  if (Object.keys(says).length > 0 && !ours.some((key) => key in says)) return [fault([], 'a kubeconfig, with kind: Config')]
  const items = Object.entries(lists).flatMap(([list, key]) => {
    const value = says[list] ?? []
    if (!Array.isArray(value)) return [fault([list], 'a list')]
    return value.flatMap((item: unknown, index): Fault[] => {
      if (!isFields(item)) return [fault([list, index], `name and ${key}`)]
      const named = typeof item['name'] === 'string' ? [] : [fault([list, index, 'name'], 'text; in quotes where YAML 1.1 takes it for something else, such as no, on, 1e3')]
      return [...named, ...(isFields(item[key] ?? {}) ? [] : [fault([list, index, key], 'keys with values')])]
    })
  })
  return [
    ...(says['kind'] === undefined || says['kind'] === 'Config' ? [] : [fault(['kind'], 'Config')]),
    ...(says['apiVersion'] === undefined || says['apiVersion'] === 'v1' ? [] : [fault(['apiVersion'], 'v1')]),
    ...(typeof (says['current-context'] ?? '') === 'string' ? [] : [fault(['current-context'], 'text, in quotes')]),
    ...items
  ]
}

/** The first 8 digits of the SHA-256 of a cluster's CA, as they are in its tokens too. '' where it has none. */
export const caOf = (cluster: Fields | null | undefined): string => {
  const data = cluster?.['certificate-authority-data']
  return typeof data === 'string' ? createHash('sha256').update(Buffer.from(data, 'base64')).digest('hex').slice(0, 8) : ''
}

/** The context of that name, if it is of another cluster (another CA) than the entry's, with the name that it is kept by. */
export const formerOf = (says: Kubeconfig, name: string, { cluster }: Entry): { name: string; server: string; ca: string } | undefined => {
  const context = named(says.contexts, name)?.context
  const theirs = named(says.clusters, context?.['cluster'])?.cluster
  const ca = caOf(theirs)
  if (!theirs || ca === caOf(cluster) || (ca === '' && theirs['server'] === cluster['server'])) return undefined
  return { name: `${name}-${ca || 'former'}`, ca: ca || 'none', server: String(theirs['server']) }
}

const named = <Item extends { name: string }>(items: Item[] | null | undefined, name: unknown): Item | undefined =>
  items?.find((item) => item.name === name)

/**
 * What the kubeconfig says once it has the entry as a context of that name. All else stays, also what others have added to
 * the context (its namespace) and to our entries. A context of another cluster stays by another name (see formerOf).
 */
export const withContext = (says: Kubeconfig, name: string, entry: Entry): Kubeconfig => {
  const former = formerOf(says, name, entry)
  const before = former === undefined ? says : withFormer(says, name, former.name)
  const without = (fields: Fields | null | undefined, keys: string[]): Fields =>
    Object.fromEntries(Object.entries(fields ?? {}).filter(([key]) => !keys.includes(key)))
  return {
    ...(Object.keys(before).length === 0 ? { apiVersion: 'v1', kind: 'Config' } : {}),
    ...before,
    clusters: put(before.clusters, name, (old) => ({ ...old, name, cluster: { ...without(old?.cluster, meddling.cluster), ...entry.cluster } })),
    users: put(before.users, name, (old) => ({ ...old, name, user: { ...without(old?.user, meddling.user), ...entry.user } })),
    contexts: put(before.contexts, name, (old) => ({ ...old, name, context: { ...old?.context, cluster: name, user: name } })),
    ...((before.contexts ?? []).length === 0 ? { 'current-context': name } : {})
  }
}

const put = <Item extends { name: string }>(items: Item[] | null | undefined, name: string, made: (old: Item | undefined) => Item): Item[] => {
  const old = named(items, name)
  return old ? items!.map((item) => (item === old ? made(old) : item)) : [...(items ?? []), made(undefined)]
}

const withFormer = (says: Kubeconfig, name: string, former: string): Kubeconfig => {
  const context = named(says.contexts, name)?.context ?? {}
  const cluster = named(says.clusters, context['cluster'])?.cluster ?? {}
  const user = named(says.users, context['user'])?.user ?? {}
  return {
    ...says,
    clusters: put(says.clusters, former, () => ({ name: former, cluster })),
    users: put(says.users, former, () => ({ name: former, user })),
    contexts: put(says.contexts, former, () => ({ name: former, context: { ...context, cluster: former, user: former } }))
  }
}

/** The text of a kubeconfig once it says something else. What does not change keeps its words, order and comments. */
export const rewritten = (text: string, from: Kubeconfig, to: Kubeconfig): string => {
  const doc: Document = parseDocument(text, { schema: 'failsafe', logLevel: 'error' })
  if (doc.contents === null) doc.contents = doc.createNode({})
  bring(doc, [], from, to)
  return doc.toString({ lineWidth: 0, indentSeq: !/^[\w-]+:[ \t]*\r?\n- /m.test(text) })
}

const bring = (doc: Document, path: (string | number)[], from: unknown, to: unknown): void => {
  if (isDeepStrictEqual(from, to)) return
  if (isFields(from) && isFields(to)) {
    for (const key of Object.keys(from)) if (!(key in to)) doc.deleteIn([...path, key])
    for (const [key, value] of Object.entries(to)) bring(doc, [...path, key], from[key], value)
  } else if (Array.isArray(from) && Array.isArray(to) && from.length > 0 && from.length <= to.length) {
    for (const [index, value] of to.entries()) bring(doc, [...path, index], from[index], value)
  } else {
    const [old, made] = [doc.getIn(path, true), doc.createNode(scalars(to))]
    // The comment behind a value stays.
    if (isScalar(old) && isScalar(made)) made.comment = old.comment ?? null
    doc.setIn(path, made)
  }
}

const scalars = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(scalars)
  if (isFields(value)) return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, scalars(one)]))
  const scalar = new Scalar(String(value))
  if (typeof value !== 'string') scalar.type = 'PLAIN'
  else if (parse(value.trim() || '~', { version: '1.1', logLevel: 'silent' }) !== value) scalar.type = 'QUOTE_DOUBLE'
  return scalar
}

/**
 * Writes a kubeconfig (mode 0600) that says `to`, at once, and only once it was read back. A link stays a link.
 */
export const writeKubeconfig = async (file: string, former: KubeconfigFile | undefined, to: Kubeconfig): Promise<void> => {
  const text = rewritten(former?.text ?? '', former?.says ?? {}, to)
  const path = await targetOf(file)
  const part = `${path}.${randomUUID()}`
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  try {
    await writeFile(part, text, { mode: 0o600, flag: 'wx' })
    if (!isDeepStrictEqual((await readKubeconfig(part))?.says, to)) throw new Error(`${file} could not be written so that it reads back the same; it is as it was`)
    await rename(part, path)
  } finally {
    await rm(part, { force: true })
  }
}

const targetOf = async (file: string): Promise<string> => {
  try {
    return await realpath(file)
  } catch (error) {
    if (!isMissing(error)) throw error
    const isLink = await lstat(file).then((found) => found.isSymbolicLink(), () => false)
    return isLink ? resolve(dirname(file), await readlink(file)) : file
  }
}
