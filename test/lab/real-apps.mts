import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { Progress } from './progress.mts'
import { build, releaseFolder } from './release.mts'

// Only workers get what is in this folder.
const folder = join(releaseFolder, 'images', 'workers')

/**
 * Sees to it that /artifacts/images/workers holds the images of the real n8n and Superset, or, without `wanted`, that it does
 * not: nodes that have them already keep them.
 */
export const realAppImages = async (wanted: boolean, progress: Progress): Promise<void> => {
  if (wanted) return progress.task('real applications', (say) => build('real-apps', folder, say))
  const left = await readdir(folder).catch((): string[] => [])
  await Promise.all(left.map((name) => rm(join(folder, name), { force: true })))
}

/** Whether the arguments of `up` or of `npm start` ask for the real applications. Throws for any other argument. */
export const realApps = (argv: string[]): boolean =>
  parseArgs({ args: argv, options: { 'real-apps': { type: 'boolean', default: false } } }).values['real-apps']
