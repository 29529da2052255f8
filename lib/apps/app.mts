import type { Settings } from '../input/settings.mts'
import type { Holder } from '../secrets/holder.mts'

/** The applications, in the order in which 09_k3s_06 deploys them. */
export const appNames = ['api', 'front', 'chatwoot', 'n8n', 'superset'] as const
export type AppName = (typeof appNames)[number]

/** The namespace of an application. Its Secret has the application's name. */
export const namespaceOf = (name: AppName): string => `keybuzz-${name}`

/** A file below manifests/06_core_apps, and the values of its placeholders. */
export type Part = { file: string; values: Record<string, string | number> }

/** What an application needs of a backend, and as whom. Passwords and keys are names of secrets. */
export type Use =
  | {
    backend: 'postgres'
    database: string
    user: string
    password: string
    /** Extensions that must be there beforehand: only a superuser can make them. */
    extensions: string[]
    /** Major versions: an older one than `least` is refused, one older than `supported` is told. */
    least: number
    supported: number
    /** Connections that all its pods open together at most. */
    connections: number
  }
  | { backend: 'redis'; database: number; password: string; /** Keeps a queue there: no key may be evicted. */ queue: boolean }
  | { backend: 'rabbitmq'; vhost: string; user: string; password: string }
  | { backend: 'minio'; bucket: string; accessKey: string; secretKey: string }
  | { backend: 'smtp'; password: string }
  | { backend: 'vault' }

/** What runs before the new version, once for each image and configuration: a Job whose file has the placeholder ${JOB}. */
export type Migration = {
  part: Part
  /** Its name begins with this; the rest follows from its text. */
  prefix: string
  /** Completes "has ...": "its database prepared for this version". */
  step: string
  /** Seconds that it may take. */
  within: number
  /** Deployments that must have no pods while it runs. */
  alone: string[]
}

/** A Deployment in a file of its own. Its pod template has the placeholder ${CHECKSUM}. */
type Workload = {
  part: Part
  name: string
  /** Seconds for which its first pod of a version may prepare the database (default 0): it runs then, and is not ready. */
  prepares?: number
}

/** An application with its values from the settings. */
export type App = Holder & {
  name: AppName
  host: string
  uses: Use[]
  /** The variables in which its pods get their user of PostgreSQL, and its password. Nothing for one that uses none. */
  login?: (user: string, password: string) => Record<string, string>
  /** True if its images are in the private registry of the settings. */
  isPrivate: boolean
  /** What stands before the pods: ConfigMaps, Services, network policies, budgets. */
  base: Part[]
  /** What other settings would have, as kind/name. It goes, with its pods, before anything of this version comes. */
  turnedOff: string[]
  migrations: Migration[]
  /** One after the other. */
  workloads: Workload[]
  /** What needs the pods: the Ingress, the autoscaler. */
  edge: Part[]
  /** What it answers at its host: the path, and what must be in the body. */
  answer: { path: string; body: string }
}

/** Makes an application from the settings. */
export type MakeApp = (settings: Settings) => App
