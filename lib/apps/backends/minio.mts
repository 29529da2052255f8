import { randomUUID } from 'node:crypto'
import { Agent } from 'node:http'
import type { Client } from 'minio'
import { isAbort } from '../../base/errors.mts'
import type { Settings } from '../../input/settings.mts'
import { eachUse, inTime, wordsOf, type Means, type UseOf } from './uses.mts'

type MinioUse = UseOf<'minio'>

/** What MinIO's refusal means, or nothing where it is none. */
export const refusalOf = ({ bucket, accessKey, secretKey }: MinioUse, code: string, message: string): string | undefined => {
  const known = {
    InvalidAccessKeyId: `MinIO does not know the access key (${accessKey})`,
    SignatureDoesNotMatch: `the secret key does not belong to the access key (${secretKey})`,
    NoSuchBucket: `bucket ${bucket} is missing: mc mb MINIO/${bucket}`,
    AccessDenied: `the access key (${accessKey}) may not do all that is needed in bucket ${bucket}: give its user a policy with s3:* there`,
    RequestTimeTooSkewed: 'the clocks of this bastion and of MinIO are more than 15 minutes apart: timedatectl on both',
    AuthorizationHeaderMalformed: 'MinIO has another region than backends.minio.region',
    XMinioStorageFull: 'MinIO has no room left'
  }[code]
  // The client hides the body of these.
  const [, status] = /Retryable HTTP status: (\d+)/.exec(message) ?? []
  if (status) return `MinIO answers ${status}: are enough of its servers up, also behind its load balancer?`
  return known ?? (/^[A-Z][a-z]\w+$/.test(code) ? `MinIO says: ${code}, ${message}` : undefined)
}

/** A client with nothing of the bastion's environment: an agent of its own uses no proxy. It asks once and does not retry. */
export const minioClient = async (
  { backends: { minio } }: Pick<Settings, 'backends'>,
  { accessKey, secretKey }: { accessKey: string; secretKey: string },
  closing: (close: () => void) => void
): Promise<Client> => {
  const { Client } = await import('minio')
  const transportAgent = new Agent({ proxyEnv: {} })
  closing(() => transportAgent.destroy())
  return new Client({
    endPoint: minio.address, port: minio.port, useSSL: false, region: minio.region, pathStyle: true,
    accessKey, secretKey, transportAgent, retryOptions: { disableRetry: true }
  })
}

const visit = async (means: Means, work: (client: Client, use: MinioUse) => Promise<string[]>): Promise<string> => {
  const { settings, signal, of } = means
  const { address, port } = settings.backends.minio
  const lines = await eachUse(means, 'minio', ({ accessKey, secretKey }) => [accessKey, secretKey], async (use) => {
    const keys = { accessKey: of(use.accessKey), secretKey: of(use.secretKey) }
    try {
      return await inTime(signal, async (closing) => work(await minioClient(settings, keys, closing), use))
    } catch (error) {
      if (isAbort(error)) throw error
      return [wordsOf(`MinIO ${address}:${port}`, error, (message, code) => refusalOf(use, code, message))]
    }
  })
  return lines.join('\n')
}

/** Asks MinIO with the keys of each application, and tells in words what is wrong with them or the bucket. It only reads. */
export const minioTakes = async (means: Means): Promise<string> => visit(means, async (client, { bucket }) => {
  // Not bucketExists: that is a HEAD, whose refusal has no body that says why.
  await client.listObjectsV2Query(bucket, 'keybuzz-check/', '', '', 1, '')
  return [`= MinIO, bucket ${bucket}`]
})

/**
 * Writes, reads and deletes an object of ours in the bucket of each application. Where the bucket keeps versions, the version
 * is deleted too.
 */
export const minioKeeps = async (means: Means): Promise<string> => visit(means, async (client, { bucket }) => {
  const name = `keybuzz-check/${randomUUID()}`
  const { versionId } = await client.putObject(bucket, name, 'check', 5)
  try {
    const text = await (await client.getObject(bucket, name)).toArray()
    const isSame = Buffer.concat(text as Buffer[]).toString() === 'check'
    return isSame ? [`= bucket ${bucket}`] : ['an object that was written is read as something else']
  } finally {
    await client.removeObject(bucket, name, versionId ? { versionId } : {})
  }
})
