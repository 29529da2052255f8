import type { Settings } from '../input/settings.mts'

/** The applications, in the order in which 09_k3s_06 deploys them. */
export const appNames = ['api', 'front', 'chatwoot', 'n8n', 'superset'] as const
export type AppName = (typeof appNames)[number]

/** The namespace of an application. Its Secret has the application's name. */
export const namespaceOf = (name: AppName): string => `keybuzz-${name}`

/** A file below manifests/06_core_apps, and the values of its placeholders. */
export type Part = { file: string; values: Record<string, string | number> }

/** A secret by its name on the bastion, such as n8n-postgres-password. `what` completes "the ...". */
export type NamedSecret = { name: string; what: string }

/** Gives a secret's value by its name. */
export type SecretOf = (name: string) => string

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
type Workload = { part: Part; name: string }

/** An application with its values from the settings. */
export type App = {
  name: AppName
  /** As it is called in the report: KeyBuzz API. */
  title: string
  host: string
  /** Secrets that the operator gives. */
  given: NamedSecret[]
  /** Secrets that are made once, and never again: 64 hexadecimal digits. */
  made: NamedSecret[]
  /** The data of its Secret. */
  secret: (of: SecretOf) => Record<string, string>
  uses: Use[]
  /** True if its images are in the private registry of the settings. */
  isPrivate: boolean
  /** What stands before the pods: ConfigMaps, Services, network policies, budgets. */
  base: Part[]
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
