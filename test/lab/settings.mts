import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseDocument } from 'yaml'
import { cache } from './place.mts'

/** What the bastion sees as its settings.yaml: the lab's settings with the version of the release that is there. */
export const settingsFile = join(cache, 'settings.yaml')

/** Writes it, in place where it is there already: the bastion has this very file mounted. */
export const writeSettings = async (version?: string): Promise<void> => {
  const document = parseDocument(await readFile(join(import.meta.dirname, 'settings.yaml'), 'utf8'))
  if (version) document.setIn(['k3s', 'version'], version)
  const text = document.toString()
  await mkdir(cache, { recursive: true, mode: 0o700 })
  if (text !== (await readFile(settingsFile, 'utf8').catch(() => ''))) await writeFile(settingsFile, text)
}
