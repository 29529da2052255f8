import { documents, meaningOf, readManifest } from '../cluster/objects.mts'
import type { Machine } from '../input/inventory.mts'
import type { Settings } from '../input/settings.mts'
import { type Component, type ComponentName, componentsOf, type Part } from './components.mts'

/** A component's objects, as they are applied. Its Secret is not among them. */
export type RenderedComponent = Pick<Component, 'name' | 'title' | 'namespace' | 'kind'> & {
  /** What stands before its pods. '' where it needs nothing. */
  base: string
  /** Its workload. */
  manifest: string
}

/** The monitoring's objects, as they are applied, in the order of applying. */
export type RenderedMonitoring = {
  /** The namespaces, the account without rights, and the network policies of all. */
  namespaces: string
  components: RenderedComponent[]
}

/**
 * The monitoring's objects. `checksumOf` gets a component's name and what its pods read when they start. Its result stands in
 * the pod template, so that pods are replaced when that changes, or a secret. Throws a UsageError with all that servers.tsv has
 * and nobody knows how to ask.
 */
export const renderMonitoring = async (
  settings: Settings,
  machines: Machine[],
  checksumOf: (component: ComponentName, texts: string[]) => string
): Promise<RenderedMonitoring> => {
  const components = await componentsOf(settings, machines)
  return {
    namespaces: await readManifest('07_monitoring/namespaces.yaml'),
    components: await Promise.all(components.map(async ({ name, title, namespace, kind, config, base, workload }) => {
      const read = await Promise.all(config.map(textOf))
      const checksum = checksumOf(name, read.map(meaningOf))
      return {
        name, title, namespace, kind,
        base: documents([...read, ...(await Promise.all(base.map(textOf)))]),
        manifest: await textOf({ ...workload, values: { ...workload.values, CHECKSUM: checksum } })
      }
    }))
  }
}

const textOf = async (part: Part): Promise<string> =>
  ('text' in part ? part.text : readManifest(`07_monitoring/${part.file}`, part.values))
