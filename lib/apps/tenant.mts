import { plural } from '../base/words.mts'
import { ingressSources, notOutside } from '../cluster/network.mts'
import { manifestStep, readManifest } from '../cluster/objects.mts'
import type { Settings } from '../input/settings.mts'
import type { Kubectl } from '../reach/kubectl.mts'
import type { ClusterStep } from '../run/step.mts'

type Tenant = Settings['tenants'][number]

const namespaceOf = ({ name }: Tenant): string => `tenant-${name}`

/** The objects of a tenant's namespace. Its limits of memory may be twice what it may request. */
export const tenantManifest = (settings: Settings, { name, pods, cpus, memory, storage }: Tenant): Promise<string> =>
  readManifest('06_core_apps/tenant.yaml', {
    TENANT: name, PODS: pods, CPUS: cpus, MEMORY: memory, MOST_MEMORY: 2 * memory, STORAGE: storage,
    INGRESS_SOURCES: ingressSources(settings), NOT_OUTSIDE: notOutside
  })

/** The step that a tenant has its namespace, with its quota and its network policies. */
export const hasTenant = async (kubectl: Kubectl, settings: Settings, tenant: Tenant): Promise<ClusterStep> =>
  manifestStep(kubectl, `has the tenant ${tenant.name}`, await tenantManifest(settings, tenant))

type Namespace = { metadata: { name: string; deletionTimestamp?: string } }

/** The step that no tenant is left that was taken out of the settings. What a tenant has is never deleted by a script. */
export const noTenantLeft = (kubectl: Kubectl, { tenants }: Settings): ClusterStep => {
  const known = tenants.map(namespaceOf)
  return {
    name: 'has no tenant that the settings lack',
    check: async () => {
      const { items } = JSON.parse(await kubectl`get namespaces -l keybuzz.io/tenant -o json`) as { items: Namespace[] }
      const there = items.filter(({ metadata }) => metadata.deletionTimestamp === undefined).map(({ metadata }) => metadata.name)
      return [
        `= ${plural(there.length, 'namespace')} of tenants`,
        ...there.filter((name) => !known.includes(name)).map((name) => `${name} is not in the settings`)
      ].join('\n')
    },
    look: `kubectl get namespaces -l keybuzz.io/tenant     # expected: ${known.join(', ') || 'none'}`,
    hint: 'put the tenant back into the settings; or remove it with all that it has: kubectl delete namespace tenant-NAME'
  }
}
