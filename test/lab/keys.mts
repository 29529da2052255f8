import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { cache } from './place.mts'

/** An SSH key: `secret` as OpenSSH reads it (PEM), `open` as one line of authorized_keys or known_hosts. */
export type Key = { secret: string; open: string }

const field = (bytes: Buffer | string): Buffer => {
  const body = Buffer.from(bytes)
  const length = Buffer.alloc(4)
  length.writeUInt32BE(body.length)
  return Buffer.concat([length, body])
}

/** The wire format of RFC 5656, section 3.1: the point follows the curve's name, uncompressed. */
const wire = (key: KeyObject): string => {
  const { x, y } = key.export({ format: 'jwk' })
  if (!x || !y) throw new Error('not an elliptic curve key')
  const point = Buffer.concat([Buffer.from([4]), Buffer.from(x, 'base64url'), Buffer.from(y, 'base64url')])
  return Buffer.concat([field('ecdsa-sha2-nistp256'), field('nistp256'), field(point)]).toString('base64')
}

const generate = (): Key => {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
  return {
    secret: String(privateKey.export({ type: 'sec1', format: 'pem' })),
    open: `ecdsa-sha2-nistp256 ${wire(publicKey)}`
  }
}

/**
 * The keys of these owners ("bastion" for the operator's own, else a node's host key). Made once and kept in the cache,
 * so that a node that is made anew is still the one that known_hosts knows.
 */
export const sshKeys = async (owners: string[]): Promise<Map<string, Key>> => {
  const file = join(cache, 'keys.json')
  const kept = await readFile(file, 'utf8').then((text) => JSON.parse(text) as Record<string, Key>, () => ({}))
  const keys = new Map(Object.entries<Key>(kept))
  const missing = owners.filter((owner) => !keys.has(owner))
  for (const owner of missing) keys.set(owner, generate())
  if (missing.length > 0) {
    await mkdir(cache, { recursive: true, mode: 0o700 })
    await writeFile(file, JSON.stringify(Object.fromEntries(keys), null, 2), { mode: 0o600 })
  }
  return keys
}
