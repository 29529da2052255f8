import { type Document, isMap, isSeq, parseDocument, type YAMLMap, type YAMLSeq } from 'yaml'
import type { Settings } from '../input/settings.mts'
import { type Holder, templateOf } from '../secrets/holder.mts'
import { type Files, userOf, valueOf } from '../vault/agent.mts'
import type { Client } from '../vault/auth.mts'
import type { App } from './app.mts'

/** True where the settings have an application get its secrets from Vault, and not from a Secret of the cluster. */
export const isFromVault = ({ vault: { apps } }: Settings, { name }: Pick<App, 'name'>): boolean => (apps as string[]).includes(name)

/** As whom an application's pods come to Vault, and to PostgreSQL: each as a user of its own, which acts as the application's role. */
export const clientOf = ({ name, namespace, uses }: App): Client => {
  const database = uses.find((use) => use.backend === 'postgres')
  return { app: name, namespace, account: name, ...(database ? { role: database.user } : {}) }
}

/** What Vault keeps of an application: all of its Secret but the user of PostgreSQL, which Vault makes for each pod. */
export const keptOf = (app: App): Holder => {
  const made = Object.keys(app.login?.('', '') ?? {})
  return { ...app, secret: (of) => Object.fromEntries(Object.entries(app.secret(of)).filter(([variable]) => !made.includes(variable))) }
}

/** The file that starts a program with the variables of the others. */
const starter = 'run'

// Not $(cat ...), which Kubernetes and Vault's agent might take for their own. The files have no line break at their end.
const startWithVariables = `for file in /vault/secrets/[A-Z]*; do
  IFS= read -r value < "$file"
  export "\${file##*/}=$value"
done
exec "$@"
`

/** The files that an application's pods get: one for each variable, and one to start programs with them. */
export const filesOf = (settings: Settings, app: App): Files => {
  // Neither has signs that a URL would encode: the names and passwords that Vault makes are letters, digits and "-".
  const user = app.login?.('USERNAME-OF-VAULT', 'PASSWORD-OF-VAULT') ?? {}
  const fromLease = (text: string): string => text
    .replace('USERNAME-OF-VAULT', userOf(settings, app.name, 'username'))
    .replace('PASSWORD-OF-VAULT', userOf(settings, app.name, 'password'))
  return {
    ...Object.fromEntries(Object.keys(templateOf(keptOf(app))).map((variable) => [variable, valueOf(settings, app.name, variable)])),
    ...Object.fromEntries(Object.entries(user).map(([variable, text]) => [variable, fromLease(text)])),
    [starter]: startWithVariables
  }
}

const folder = '/vault/secrets'

type Container = {
  name: string
  command?: string[]
  args?: string[]
  env?: { name: string; valueFrom?: { secretKeyRef?: { name: string; key: string } } }[]
  envFrom?: { secretRef?: { name: string } }[]
}

const pod = ['spec', 'template', 'spec']
const volume = 'vault-secrets'

/** What a container has of a Secret: all of it, some keys, or nothing. */
const partOf = ({ env = [], envFrom = [] }: Container, secret: string): 'all' | string[] =>
  envFrom.some(({ secretRef }) => secretRef?.name === secret)
    ? 'all'
    : env.flatMap(({ valueFrom }) => (valueFrom?.secretKeyRef?.name === secret ? [valueFrom.secretKeyRef.key] : []))

/**
 * A Deployment or Job whose pods get the variables of a Secret from the files of Vault's agent instead: all of them, or for a
 * container that names a few only these. Its probes and hooks that run a program get them too. Throws for a container that
 * names no command: that of its image is not known.
 */
export const withVault = (manifest: string, secret: string): string => {
  const document = parseDocument(manifest)
  document.setIn(['spec', 'template', 'metadata', 'annotations', 'keybuzz.io/vault-agent'], 'vault-agent')
  const paths = ['initContainers', 'containers'].flatMap((list) => {
    const containers = document.getIn([...pod, list])
    return isSeq(containers) ? [...containers.items.keys()].map((index) => [...pod, list, index]) : []
  })
  const parts = paths.map((path) => startWithFiles(document, path, secret))
  // What a Deployment mounts it must declare. The agent's own volume of this name is the same.
  if (parts.some((part) => part !== 'all' && part.length > 0)) addTo(document, [...pod, 'volumes'], { name: volume, emptyDir: { medium: 'Memory', sizeLimit: '4Mi' } })
  return document.toString({ lineWidth: 0 })
}

/** Has the container at a path get from files what it had of a Secret, and says what that was. */
const startWithFiles = (document: Document, path: (string | number)[], secret: string): 'all' | string[] => {
  const container = (document.getIn(path) as YAMLMap).toJS(document) as Container
  const { name, command, args = [], env = [], envFrom = [] } = container
  const part = partOf(container, secret)
  if (part.length === 0) return part
  if (!command) throw new Error(`the container ${name} names no command, and could not be started with the secrets of Vault`)
  const drop = (list: 'env' | 'envFrom', isOfSecret: boolean[]): void => {
    for (const [index, is] of [...isOfSecret.entries()].toReversed()) if (is) document.deleteIn([...path, list, index])
  }
  drop('env', env.map(({ valueFrom }) => valueFrom?.secretKeyRef?.name === secret))
  drop('envFrom', envFrom.map(({ secretRef }) => secretRef?.name === secret))
  document.setIn([...path, 'command'], inFlow(document, started([...command, ...args])))
  document.deleteIn([...path, 'args'])
  for (const file of part === 'all' ? [] : [starter, ...part]) {
    addTo(document, [...path, 'volumeMounts'], { name: volume, mountPath: `${folder}/${file}`, subPath: file, readOnly: true })
  }
  for (const hook of [['startupProbe'], ['livenessProbe'], ['readinessProbe'], ['lifecycle', 'preStop'], ['lifecycle', 'postStart']]) {
    const run = document.getIn([...path, ...hook, 'exec'])
    if (isMap(run)) run.set('command', inFlow(document, started((run.get('command') as YAMLSeq).toJSON() as string[])))
  }
  return part
}

const inFlow = (document: Document, value: unknown) => document.createNode(value, { flow: true })

const addTo = (document: Document, path: (string | number)[], value: object): void => document.addIn(path, inFlow(document, value))

const started = (words: string[]): string[] => ['sh', `${folder}/${starter}`, ...words]
