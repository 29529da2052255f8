import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parse, parseDocument, type Document } from 'yaml'
import { cache } from './place.mts'

/** What the bastion sees as its settings.yaml: the lab's settings with the version of the release that is there. */
export const settingsFile = join(cache, 'settings.yaml')

const read = (name: string): Promise<string> => readFile(join(import.meta.dirname, name), 'utf8')

/** Sets each of the values in its place, and leaves all else. */
const overlay = (document: Document, values: Record<string, unknown>, path: string[] = []): void => {
  for (const [key, value] of Object.entries(values)) {
    if (typeof value === 'object' && value !== null) overlay(document, value as Record<string, unknown>, [...path, key])
    else document.setIn([...path, key], value)
  }
}

/** The lab's settings as text. With `realApps` they name the images of the real applications. */
export const labSettings = async ({ version, realApps }: { version?: string | undefined; realApps: boolean }): Promise<string> => {
  const document = parseDocument(await read('settings.yaml'))
  if (version) document.setIn(['k3s', 'version'], version)
  if (realApps) overlay(document, parse(await read('real-apps/settings.yaml')) as Record<string, unknown>)
  return document.toString()
}

/** Writes them, in place where they are there already: the bastion has this very file mounted. */
export const writeSettings = async (wanted: Parameters<typeof labSettings>[0]): Promise<void> => {
  const text = await labSettings(wanted)
  await mkdir(cache, { recursive: true, mode: 0o700 })
  if (text !== (await readFile(settingsFile, 'utf8').catch(() => ''))) await writeFile(settingsFile, text)
}
