import { isAbort } from '../../base/errors.mts'
import { minioClient } from './minio.mts'
import { inTime, usesOf, wordsOf, type Means } from './uses.mts'

/**
 * Makes the buckets of the applications that are missing, with keys of an admin. It makes no users: their keys are MinIO's
 * own. Throws in words where MinIO refuses.
 */
export const createInMinio = async (means: Means, keys: { accessKey: string; secretKey: string }): Promise<void> => {
  const { settings, signal } = means
  const { address, port, region } = settings.backends.minio
  try {
    await inTime(signal, async (closing) => {
      const client = await minioClient(settings, keys, closing)
      for (const { use: { bucket } } of usesOf(means.apps, 'minio')) {
        if (!await client.bucketExists(bucket)) await client.makeBucket(bucket, region)
      }
    })
  } catch (error) {
    if (isAbort(error)) throw error
    throw new Error(wordsOf(`MinIO ${address}:${port}`, error, (message, code) =>
      (/^[A-Z][a-z]\w+$/.test(code) ? `MinIO says to its admin: ${code}, ${message}` : undefined)))
  }
}

/** The same by hand. */
export const createInMinioByHand = ({ settings: { backends: { minio } }, apps }: Means): string =>
  [`mc alias set keybuzz http://${minio.address}:${minio.port} # asks for the keys of an admin`,
    ...usesOf(apps, 'minio').map(({ use: { bucket } }) => `mc mb --ignore-existing keybuzz/${bucket}`)].join('\n')
