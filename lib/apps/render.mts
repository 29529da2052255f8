import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, rm, rmdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parse, parseAllDocuments } from 'yaml'
import { UsageError } from '../base/errors.mts'
import { documents, fill, meaningOf, readManifest } from '../cluster/objects.mts'
import { inYaml } from '../cluster/values.mts'
import type { Settings } from '../input/settings.mts'
import { agentOf } from '../vault/agent.mts'
import { type App, type Migration, type Part } from './app.mts'
import { clientOf, filesOf as secretFilesOf, isFromVault, withVault } from './from-vault.mts'
import { egressTo } from './network.mts'
import { statefulFaults } from './stateless.mts'

/** An application's objects, as they are applied. Its Secret is not among them. */
export type Rendered = {
  /** The namespace, its account and its network policies. */
  namespace: string
  base: string
  migrations: (Migration & { job: string; manifest: string })[]
  workloads: { name: string; prepares?: number; manifest: string }[]
  edge: string
}

const folder = '06_core_apps'

/**
 * An application's objects. `checksumOf` gets the texts of its configuration: its result stands in every pod template, so
 * that pods are replaced when the configuration changes, or a secret. A migration is named by its image and configuration: it
 * runs once for each. Throws a UsageError where a manifest would put a database into the cluster.
 */
export const renderApp = async (app: App, settings: Settings, checksumOf: (texts: string[]) => string): Promise<Rendered> => {
  const read = ({ file, values }: Part, more: Part['values'] = {}): Promise<string> => readManifest(`${folder}/${file}`, { ...values, ...more })
  const own = { NAMESPACE: app.namespace }
  const fromVault = isFromVault(settings, app)
  const namespace = documents([
    await readManifest(`${folder}/namespace.yaml`, { ...own, NAME: app.name, VAULT: fromVault ? 'on' : 'off' }),
    // Without a rule the API would store the policy in another form than it was given.
    ...(app.uses.length > 0 ? [await readManifest(`${folder}/backends.yaml`, { ...own, BACKENDS: egressTo(settings, app.uses) })] : [])
  ])
  const base = await Promise.all(app.base.map((part) => read(part)))
  const configuration = base.map(meaningOf)
  const agent = fromVault ? [await agentOf(settings, clientOf(app), secretFilesOf(settings, app))] : []
  // Vault's agent reads its configuration when it starts.
  const checksum = checksumOf([...configuration, ...agent.map(meaningOf)])
  const ofPods = (manifest: string): string => (fromVault ? withVault(manifest, app.name) : manifest)
  const migrations = await Promise.all(app.migrations.map(async (migration) => {
    const text = await readFile(join(import.meta.dirname, '../../manifests', folder, migration.part.file), 'utf8')
    const nameless = fill(text, { ...migration.part.values, JOB: migration.prefix }, migration.part.file)
    const job = `${migration.prefix}-${createHash('sha256').update([meaningOf(nameless), ...configuration].join('\0')).digest('hex').slice(0, 10)}`
    return { ...migration, job, manifest: ofPods(await read(migration.part, { JOB: job })) }
  }))
  const workloads = await Promise.all(app.workloads.map(async ({ part, ...own }) => ({ ...own, manifest: ofPods(await read(part, { CHECKSUM: checksum })) })))
  const edge = await Promise.all(app.edge.map((part) => read(part)))
  const faults = statefulFaults(`manifests/${folder}/${app.name}`, [...base, ...migrations.map(({ manifest }) => manifest), ...workloads.map(({ manifest }) => manifest), ...edge])
  if (faults.length > 0) throw new UsageError(faults)
  const rotation = fromVault ? [await rotationOf(app, settings, workloads)] : []
  return { namespace, base: documents([...base, ...agent, ...rotation]), migrations, workloads, edge: documents(edge) }
}

const strategyOf = (manifest: string): string | undefined => (parse(manifest) as { spec: { strategy?: { type?: string } } }).spec.strategy?.type

/** What stands around an application that gets its secrets from Vault. Its Deployments with the strategy Recreate are restarted last. */
const rotationOf = async ({ namespace }: App, { network, vault: { rotation } }: Settings, workloads: Rendered['workloads']): Promise<string> => {
  const [hour, minute] = rotation.at.split(':').map(Number)
  const names = workloads.map(({ name }) => name)
  const last = workloads.filter(({ manifest }) => strategyOf(manifest) === 'Recreate').map(({ name }) => name)
  const first = names.filter((name) => !last.includes(name))
  const isInTurn = first.length > 0 && last.length > 0
  const restart = (deployments: string[]): string => inYaml(['rollout', 'restart', ...deployments.map((name) => `deployment/${name}`)])
  const manifest = await readManifest(`${folder}/vault.yaml`, {
    NAMESPACE: namespace, SCHEDULE: inYaml(`${minute} ${hour} * * *`), KUBECTL: rotation.image,
    RESTART_FIRST: restart(first), WAIT: inYaml(['rollout', 'status', `deployment/${first[0]}`]), RESTART: restart(isInTurn ? last : names),
    DEPLOYMENTS: inYaml(names), PRIVATE_CIDR: network.private_cidr
  })
  if (isInTurn) return manifest
  const objects = parseAllDocuments(manifest)
  objects.find((object) => object.get('kind') === 'CronJob')?.deleteIn(['spec', 'jobTemplate', 'spec', 'template', 'spec', 'initContainers'])
  return documents(objects.map((object) => object.toString({ lineWidth: 0, directives: false, flowCollectionPadding: false })))
}

/** An application's objects as files, in the order in which they are applied: the name of each without its ending, and its text. */
export const filesOf = (rendered: Rendered): [string, string][] => [
  ['1-namespace', rendered.namespace],
  ['2-base', rendered.base],
  ...rendered.migrations.map(({ prefix, manifest }): [string, string] => [`3-${prefix}`, manifest]),
  ...rendered.workloads.map((workload): [string, string] => [`4-${workload.name}`, workload.manifest]),
  ['5-edge', rendered.edge]
]

/**
 * Writes files of objects into a folder below another, as they are applied: for `kubectl diff -f`, or a repository. Files of an
 * earlier rendering go: a Deployment that is no longer meant would be among them. Without files the folder goes too.
 */
export const writeFolder = async (into: string, name: string, files: [string, string][]): Promise<void> => {
  const own = join(into, name)
  await mkdir(own, { recursive: true })
  for (const old of (await readdir(own)).filter((file) => /^[1-5]-[\w-]+\.yaml$/.test(file))) await rm(join(own, old))
  for (const [file, text] of files) await writeFile(join(own, `${file}.yaml`), `${text.trimEnd()}\n`)
  if ((await readdir(own)).length === 0) await rmdir(own)
}
