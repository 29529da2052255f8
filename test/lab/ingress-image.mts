import { createWriteStream } from 'node:fs'
import { access, mkdir, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { readSettings } from '../../lib/input/settings.mts'
import type { Engine } from './engine.mts'
import { pulled } from './images.mts'
import { project } from './place.mts'
import type { Progress } from './progress.mts'
import { build, releaseFolder } from './release.mts'

const exists = (file: string): Promise<boolean> => access(file).then(() => true, () => false)

/**
 * Sees to it that /artifacts/images holds the ingress controller that the settings name: the official image where a
 * registry serves it, else the lab's stand-in under the same reference. Tells which; the choice stays until the folder
 * is deleted.
 */
export const ingressImage = async ({ container: { dockerode: docker } }: Engine, progress: Progress): Promise<{ official: boolean }> => {
  const { ingress: { image } } = await readSettings(join(project, 'settings.yaml'))
  const name = image.split('/').at(-1)!.replaceAll(/[:@]/g, '-')
  const folder = join(releaseFolder, 'images')
  const official = join(folder, `${name}-official.tar`)
  if (await exists(official)) return { official: true }
  return progress.task('ingress image', async (say) => {
    if (!(await exists(join(folder, `${name}.tar`))) && (await pulled(docker, image, say))) {
      await mkdir(folder, { recursive: true })
      await pipeline(await docker.getImage(image).get(), createWriteStream(`${official}.part`))
      await rename(`${official}.part`, official)
      return { official: true }
    }
    await build('ingress', folder, say)
    return { official: false }
  })
}
