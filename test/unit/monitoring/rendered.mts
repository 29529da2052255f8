// What the tests of the monitoring share: all its objects, as the API gets them.
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { parseAllDocuments } from 'yaml'
import { readInventory } from '../../../lib/input/inventory.mts'
import { defaultSettings, readSettings, type Settings } from '../../../lib/input/settings.mts'
import { type RenderedMonitoring, renderMonitoring } from '../../../lib/monitoring/render.mts'

type Named = { name: string }
export type Labels = Record<string, string>
export type Container = Named & {
  image: string
  args?: string[]
  env?: (Named & { value?: string; valueFrom?: { secretKeyRef?: Named & { key: string } } })[]
  envFrom?: { configMapRef?: Named; secretRef?: Named }[]
  ports?: (Named & { containerPort: number })[]
  resources?: { requests?: Labels; limits?: Labels }
  securityContext?: Record<string, unknown>
  startupProbe?: unknown
  livenessProbe?: unknown
  readinessProbe?: unknown
  volumeMounts?: (Named & { mountPath: string })[]
}
type Volume = Named & {
  hostPath?: object
  emptyDir?: object
  configMap?: Named
  secret?: { secretName: string; items?: { key: string }[] }
  projected?: { sources: { configMap: Named }[] }
}
type Port = { name?: string; port: number | string; targetPort?: string | number }
export type Made = {
  kind: string
  metadata: Named & { namespace?: string; labels?: Labels; annotations?: Labels }
  data?: Labels
  rules?: { apiGroups?: string[]; resources?: string[]; verbs: string[] }[]
  spec: {
    replicas?: number
    serviceName?: string
    podManagementPolicy?: string
    maxUnavailable?: number
    selector: Labels & { matchLabels: Labels }
    podSelector: { matchLabels?: Labels }
    ports?: Port[]
    ingress?: { from: object[]; ports: Port[] }[]
    egress?: { to: { ipBlock?: { cidr: string } }[]; ports?: Port[] }[]
    rules?: { host: string; http: { paths: { path: string; pathType: string; backend: { service: Named & { port: Named } } }[] } }[]
    template: {
      metadata: { labels: Labels; annotations: Labels }
      spec: {
        serviceAccountName: string
        automountServiceAccountToken: boolean
        enableServiceLinks: boolean
        hostNetwork?: boolean
        priorityClassName: string
        securityContext: Record<string, unknown>
        affinity?: Record<string, unknown>
        containers: Container[]
        volumes?: Volume[]
      }
    }
  }
}

const root = join(import.meta.dirname, '../../..')
const { machines } = await readInventory(join(root, 'servers.tsv'))

/** What the caller fills in: the name of the component, so that a pod is seen to get its own. */
export const render = (settings: Settings): Promise<RenderedMonitoring> => renderMonitoring(settings, machines, (name) => `sum-of-${name}`)

/** Every object of a text. */
export const objectsIn = (text: string): Made[] =>
  parseAllDocuments(text).flatMap((document) => {
    assert.equal(document.errors, [])
    const made = document.toJS() as Made | null
    return made ? [made] : []
  })

/** Every object of the monitoring. */
export const rendered = async (settings: Settings): Promise<Made[]> => {
  const { namespaces, components } = await render(settings)
  return [namespaces, ...components.flatMap(({ base, manifest }) => [base, manifest])].flatMap(objectsIn)
}

export const all = (objects: Made[], ...kinds: string[]): Made[] => objects.filter(({ kind }) => kinds.includes(kind))

export const one = (objects: Made[], kind: string, name: string): Made => {
  const found = all(objects, kind).filter(({ metadata }) => metadata.name === name)
  assert.is(found.length, 1, `${kind} ${name} is there ${found.length} times`)
  return found[0]!
}

const odd = (): Settings => {
  const settings = defaultSettings()
  settings.network.cluster_cidr = '10.44.0.0/22'
  settings.backends.mariadb.address = ''
  settings.backends.vault.address = ''
  settings.apps.n8n.enabled = false
  settings.monitoring.prometheus.replicas = 1
  settings.monitoring.grafana.database = 'grafana'
  settings.monitoring.minio.token = true
  settings.monitoring.pools = ['general']
  settings.monitoring.ignore = ['redis-01']
  settings.monitoring.alerts.pages.webhook = true
  settings.monitoring.alerts.tickets.slack = '#alerts'
  return settings
}

const bare = (): Settings => {
  const settings = defaultSettings()
  for (const name of ['postgres', 'redis', 'rabbitmq', 'minio', 'mariadb', 'vault'] as const) settings.backends[name].address = ''
  settings.load_balancers.http = []
  return settings
}

/** Settings that differ in what they need. */
export const variants: Record<string, Settings> = {
  defaults: defaultSettings(),
  lab: await readSettings(join(root, 'test/lab/settings.yaml')),
  odd: odd(),
  bare: bare()
}
