import { readFile } from 'node:fs/promises'
import { join } from 'node:path'

/**
 * A file below manifests/ with its placeholders `${NAME}` filled in. A value stands as it is, so it must fit where the
 * file puts it. Throws where file and values do not name the same.
 */
export const readManifest = async (file: string, values: Record<string, string | number> = {}): Promise<string> => {
  const text = await readFile(join(import.meta.dirname, '../../manifests', file), 'utf8')
  return fill(text, values, `manifests/${file}`)
}

/** Fills in the placeholders of a text. `where` names it in errors. */
export const fill = (text: string, values: Record<string, string | number>, where: string): string => {
  const unused = new Set(Object.keys(values))
  const filled = text.replaceAll(/\$\{([A-Z_]+)\}/g, (_, name: string) => {
    const value = values[name]
    if (value === undefined) throw new Error(`${where} has a placeholder \${${name}} that nothing fills`)
    unused.delete(name)
    return String(value)
  })
  if (unused.size > 0) throw new Error(`${where} has no placeholder for ${[...unused].join(', ')}`)
  return filled
}
