import { join } from 'node:path'
import type { Progress } from './progress.mts'
import { build, releaseFolder } from './release.mts'

/** Sees to it that /artifacts/images holds the lab's stand-in for the applications, under the names of their images. */
export const appsImage = (progress: Progress): Promise<void> =>
  progress.task('application images', (say) => build('apps', join(releaseFolder, 'images'), say))
