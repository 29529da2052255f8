import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { stringify } from 'yaml'
import { isMissing } from '../base/errors.mts'

const folder = join(import.meta.dirname, '../../manifests/07_monitoring')

/** The API takes a little more than 1 MB in one ConfigMap (kubernetes: MaxSecretSize). */
const largest = 1_000_000

/** The files of a folder below manifests/07_monitoring with an ending, by name and literally. None where there is no folder. */
export const filesIn = async (name: string, ending: string): Promise<Record<string, string>> => {
  const names = await readdir(join(folder, name)).catch((error: unknown) => {
    if (isMissing(error)) return []
    throw error
  })
  const wanted = names.filter((file) => file.endsWith(ending)).toSorted()
  const texts = await Promise.all(wanted.map((file) => readFile(join(folder, name, file), 'utf8')))
  return Object.fromEntries(wanted.map((file, index) => [file, texts[index]!]))
}

/** The name of the ConfigMap of a dashboard's file. One for each: what has changed is named, and none is too large. */
export const dashboardMap = (file: string): string => `dashboards-${file.replace(/\.json$/, '')}`

/** The names of all alerts. */
export const alertNames = async (): Promise<string[]> =>
  Object.values(await filesIn('rules', '.yaml')).flatMap((text) => [...text.matchAll(/^\s*- alert: (\w+)$/gm)].map(([, name = '']) => name))

/** A ConfigMap of the namespace `monitoring` that holds files. Throws where the API would not take it. */
export const configMap = (name: string, files: Record<string, string>): string => {
  const size = Object.values(files).reduce((sum, text) => sum + Buffer.byteLength(text), 0)
  if (size > largest) throw new Error(`the ConfigMap ${name} would have ${size} bytes, and may have ${largest}`)
  return stringify({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace: 'monitoring' }, data: files }, { lineWidth: 0 })
}
