import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseAllDocuments } from 'yaml'
import { UsageError } from '../base/errors.mts'
import { fill, readManifest } from '../cluster/objects.mts'
import type { Settings } from '../input/settings.mts'
import { type App, type Migration, namespaceOf, type Part } from './app.mts'
import { egressTo } from './network.mts'
import { statefulFaults } from './stateless.mts'

/** An application's objects, as they are applied. Its Secret is not among them. */
export type Rendered = {
  /** The namespace, its account and its network policies. */
  namespace: string
  base: string
  migrations: (Migration & { job: string; manifest: string })[]
  workloads: { name: string; manifest: string }[]
  edge: string
}

const folder = '06_core_apps'

const documents = (texts: string[]): string => texts.map((text) => text.trim()).join('\n---\n')

/**
 * An application's objects. `checksumOf` gets the texts of its configuration: its result stands in every pod template, so
 * that pods are replaced when the configuration changes, or a secret. A migration is named by its image and configuration: it
 * runs once for each. Throws a UsageError where a manifest would put a database into the cluster.
 */
export const renderApp = async (app: App, settings: Settings, checksumOf: (texts: string[]) => string): Promise<Rendered> => {
  const read = ({ file, values }: Part, more: Part['values'] = {}): Promise<string> => readManifest(`${folder}/${file}`, { ...values, ...more })
  const own = { NAMESPACE: namespaceOf(app.name) }
  const namespace = documents([
    await readManifest(`${folder}/namespace.yaml`, { ...own, NAME: app.name }),
    // Without a rule the API would store the policy in another form than it was given.
    ...(app.uses.length > 0 ? [await readManifest(`${folder}/backends.yaml`, { ...own, BACKENDS: egressTo(settings, app.uses) })] : [])
  ])
  const base = await Promise.all(app.base.map((part) => read(part)))
  const configuration = base.map(meaningOf)
  const checksum = checksumOf(configuration)
  const migrations = await Promise.all(app.migrations.map(async (migration) => {
    const text = await readFile(join(import.meta.dirname, '../../manifests', folder, migration.part.file), 'utf8')
    const nameless = fill(text, { ...migration.part.values, JOB: migration.prefix }, migration.part.file)
    const job = `${migration.prefix}-${createHash('sha256').update([meaningOf(nameless), ...configuration].join('\0')).digest('hex').slice(0, 10)}`
    return { ...migration, job, manifest: await read(migration.part, { JOB: job }) }
  }))
  const workloads = await Promise.all(app.workloads.map(async ({ name, part }) => ({ name, manifest: await read(part, { CHECKSUM: checksum }) })))
  const edge = await Promise.all(app.edge.map((part) => read(part)))
  const faults = statefulFaults(`manifests/${folder}/${app.name}`, [...base, ...migrations.map(({ manifest }) => manifest), ...workloads.map(({ manifest }) => manifest), ...edge])
  if (faults.length > 0) throw new UsageError(faults)
  return { namespace, base: documents(base), migrations, workloads, edge: documents(edge) }
}

// A comment is no reason to stop an application for its migration.
const meaningOf = (text: string): string => JSON.stringify(parseAllDocuments(text).map((one) => one.toJS() as unknown))

/**
 * Writes an application's objects below a folder, as they are applied: for `kubectl diff -f`, or a repository. Files of an
 * earlier rendering go: a Deployment that is no longer meant would be among them.
 */
export const writeRendered = async (into: string, { name }: App, rendered: Rendered): Promise<void> => {
  const own = join(into, name)
  await mkdir(own, { recursive: true })
  for (const old of (await readdir(own)).filter((file) => /^[1-5]-[\w-]+\.yaml$/.test(file))) await rm(join(own, old))
  const files: [string, string][] = [
    ['1-namespace', rendered.namespace],
    ['2-base', rendered.base],
    ...rendered.migrations.map(({ prefix, manifest }): [string, string] => [`3-${prefix}`, manifest]),
    ...rendered.workloads.map((workload): [string, string] => [`4-${workload.name}`, workload.manifest]),
    ['5-edge', rendered.edge]
  ]
  for (const [file, text] of files) await writeFile(join(own, `${file}.yaml`), `${text.trimEnd()}\n`)
}
