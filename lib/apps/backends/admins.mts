import { Secret, typedSecret } from '../../input/secrets.mts'
import { hasTerminal } from '../../run/confirm.mts'
import type { Run } from '../../run/run.mts'
import { findingOf } from '../../run/step.mts'
import { inEnvironment } from '../../secrets/given.mts'
import { variableOf } from '../../secrets/holder.mts'
import { minioTakes } from './minio.mts'
import { postgresTakes } from './postgres.mts'
import { rabbitmqTakes } from './rabbitmq.mts'
import type { Means } from './uses.mts'

const admins = {
  'postgres-admin-password': { takes: postgresTakes, what: "password of PostgreSQL's admin (backends.postgres.admin)" },
  'rabbitmq-admin-password': { takes: rabbitmqTakes, what: "password of RabbitMQ's admin (backends.rabbitmq.admin)" },
  'minio-admin-access-key': { takes: minioTakes, what: 'access key of an admin of MinIO' },
  'minio-admin-secret-key': { takes: minioTakes, what: 'secret key of an admin of MinIO' }
}
type AdminSecret = keyof typeof admins

/** The secrets of admins that are known. */
export type Admins = ReadonlyMap<AdminSecret, Secret>

/**
 * The secrets of the admins who have something to make, where `backends.create` says so: from variables, else an apply asks at
 * the terminal. They are never kept. It looks at the backends first, so that nobody is asked where all is there.
 */
export const adminSecrets = async ({ mode }: Pick<Run, 'mode'>, means: Means): Promise<Admins> => {
  const known = new Map<AdminSecret, Secret>()
  if (mode !== 'apply' || !means.settings.backends.create) return known
  const names = Object.keys(admins) as AdminSecret[]
  const wanted = await Promise.all(names.map(async (name) => findingOf(await admins[name].takes(means)).words !== ''))
  for (const name of names.filter((_, index) => wanted[index])) {
    const secret = inEnvironment(name) ?? (hasTerminal() ? await typedSecret(admins[name].what) : undefined)
    if (secret) known.set(name, secret)
  }
  return known
}

/** The value of an admin's secret. Throws with the name of its variable where it is not known. */
export const adminSecret = (known: Admins, name: AdminSecret): string => {
  const secret = known.get(name)
  if (secret === undefined) throw new Error(`the ${admins[name].what} is not known: set ${variableOf(name)}, or run it at a terminal`)
  return secret.reveal()
}
