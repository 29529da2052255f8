import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseAllDocuments } from 'yaml'
import { messageOf } from '../base/errors.mts'
import { KubectlError, type Kubectl } from '../reach/kubectl.mts'
import type { ClusterStep } from '../run/step.mts'

/**
 * A file below manifests/ with its placeholders `${NAME}` filled in. Values are not escaped, so each must be valid YAML in
 * its place. Throws where a placeholder has no value, or a value no placeholder.
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

/** Several manifests as one. */
export const documents = (texts: string[]): string => texts.map((text) => text.trim()).join('\n---\n')

/** What a manifest says, the same for another comment or layout: these are no reason to replace pods, or to migrate again. */
export const meaningOf = (text: string): string => JSON.stringify(parseAllDocuments(text).map((one) => one.toJS() as unknown))

/** Creates or changes the objects of a manifest. */
export const applyObjects = async (kubectl: Kubectl, manifest: string): Promise<void> => {
  await kubectl({ input: manifest })`apply --server-side --force-conflicts -f -`
}

/** The step that the cluster has the objects of a manifest, as the server would store them. */
export const manifestStep = (kubectl: Kubectl, name: string, manifest: string): ClusterStep => {
  const file = `${name.replaceAll(/[^\w]+/g, '-')}.yaml`
  return {
    name,
    check: async () => {
      try {
        await kubectl({ input: manifest })`diff --server-side --force-conflicts -f -`
        return ''
      } catch (error) {
        if (!(error instanceof KubectlError)) throw error
        if (/namespaces? .* not found/.test(error.message)) return 'is missing'
        const changed = [...error.stdout.matchAll(/^diff .*\/MERGED-[^/]*\/(\S+)$/gm)].map(([, found = '']) => objectOf(found))
        if (error.exitCode === 1 && changed.length > 0) return `missing or different: ${changed.join(', ')}`
        throw error
      }
    },
    look: `cat > ${file} <<'END'
${manifest.trimEnd()}
END
kubectl diff --server-side --force-conflicts -f ${file}`,
    change: () => applyObjects(kubectl, manifest),
    byHand: `kubectl apply --server-side --force-conflicts -f ${file}`,
    within: 30 // an object whose status changes at this moment can show a difference
  }
}

// kubectl diff names its files by group.version.Kind.namespace.name.
const objectOf = (file: string): string => {
  const [, kind, namespace, name] = /\bv\d\w*\.([A-Z]\w*)\.([^.]*)\.(.+)$/.exec(file) ?? []
  return kind ? `${kind} ${namespace ? `${namespace}/` : ''}${name}` : file
}

type Trial = { kubectl: Kubectl; signal: AbortSignal; manifest: string }

/**
 * Makes the objects of a manifest, uses them, and removes them, also when the use fails or the run is interrupted.
 * Objects that a killed run left behind are used and removed too. Waits for a namespace that is still being removed.
 */
export const withObjects = async <Result,>({ kubectl, manifest, signal }: Trial, use: () => Promise<Result>): Promise<Result> => {
  signal.throwIfAborted()
  const remove = (): Promise<string> =>
    kubectl({ input: manifest, signal: AbortSignal.timeout(60_000) })`delete --ignore-not-found --wait=false -f -`
  const make = async (): Promise<void> => {
    for (const end = Date.now() + 60_000; ;) {
      try {
        return await applyObjects(kubectl, manifest)
      } catch (error) {
        if (!/is being terminated/.test(messageOf(error)) || Date.now() >= end) throw error
      }
      await sleep(1000, undefined, { signal })
    }
  }
  try {
    await make()
    const result = await use()
    await remove()
    return result
  } catch (error) {
    await remove().catch(() => {}) // the first error says what is wrong
    throw error
  }
}
