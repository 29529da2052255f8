import { isAbort } from '../../base/errors.mts'
import { findingOf, type ClusterStep } from '../../run/step.mts'
import { pathOf, type Secrets } from '../../secrets/holder.mts'
import type { App, Use } from '../app.mts'
import { adminSecret, type Admins } from './admins.mts'
import { createInMinio, createInMinioByHand } from './create-minio.mts'
import { createInPostgres, createInPostgresByHand } from './create-postgres.mts'
import { createInRabbitmq, createInRabbitmqByHand } from './create-rabbitmq.mts'
import { minioKeeps, minioTakes } from './minio.mts'
import { hasTables, postgresTakes } from './postgres.mts'
import { rabbitmqTakes } from './rabbitmq.mts'
import { redisTakes } from './redis.mts'
import { usesOf, type Means, type UseOf } from './uses.mts'

/**
 * The steps that each backend takes the applications with their real credentials, asked from the bastion. All faults of all
 * applications are told at once. Where `backends.create` says so, an apply makes the databases, vhosts and buckets that are
 * missing. These steps belong behind the step that has the secrets and before whatever applies something: an apply stops at
 * the first that does not hold, and a plan says that it would.
 *
 * None is `always`. In a plan of all scripts that would refuse to mend the cluster while Redis is down. And a secret that is
 * still to be asked for is no failure: in a plan such a step is unknown, as the step that asks is pending.
 */
export const acceptsApps = (means: Means, admins: Admins): ClusterStep[] => {
  const made = (change: () => Promise<void>, byHand: string) => (means.settings.backends.create ? { change, byHand, timeout: 120 } : {})
  const steps: [Use['backend'], ClusterStep][] = [
    ['postgres', {
      name: 'PostgreSQL takes the applications',
      check: () => postgresTakes(means),
      look: lookAtPostgres(means),
      ...made(async () => createInPostgres(means, adminSecret(admins, 'postgres-admin-password')), createInPostgresByHand(means))
    }],
    ['redis', { name: 'Redis takes the applications', check: () => redisTakes(means), look: lookAtRedis(means) }],
    ['rabbitmq', {
      name: 'RabbitMQ takes the applications',
      check: () => rabbitmqTakes(means),
      look: lookAtRabbitmq(means),
      ...made(async () => createInRabbitmq(means, adminSecret(admins, 'rabbitmq-admin-password')), createInRabbitmqByHand(means))
    }],
    ['minio', {
      name: 'MinIO takes the applications',
      check: () => minioTakes(means),
      look: lookAtMinio(means, 'ls'),
      ...made(async () => createInMinio(means, {
        accessKey: adminSecret(admins, 'minio-admin-access-key'), secretKey: adminSecret(admins, 'minio-admin-secret-key')
      }), createInMinioByHand(means))
    }],
    ['minio', {
      name: "MinIO keeps the applications' objects",
      check: () => minioKeeps(means),
      look: lookAtMinio(means, 'cp /etc/hostname'),
      trial: true
    }]
  ]
  return steps.flatMap(([backend, step]) => (usesOf(means.apps, backend).length > 0 ? [{ ...step, hint: 'docs/backends.md; a mistyped password is given anew as a changed one: docs/app-secrets.md' }] : []))
}

/**
 * What such steps say against the applications, in words; '' where all is well. Trials are left out, and backends where an
 * apply makes what is missing: the user of a password may be among that.
 */
export const refusalOf = async (steps: ClusterStep[]): Promise<string> => {
  const said = await Promise.all(steps.filter(({ trial, change }) => !trial && !change).map(async ({ check }) => findingOf(await check()).words))
  return said.filter(Boolean).join('\n')
}

// What an application uses of PostgreSQL. Nothing where nobody can ask it: without its password.
const askable = ({ uses }: Pick<App, 'uses'>, { known }: Secrets): UseOf<'postgres'> | undefined =>
  uses.find((use): use is UseOf<'postgres'> => use.backend === 'postgres' && known.has(use.password))

/** The PostgreSQL database of an application where it has tables, else ''. Without its password nobody can tell. */
export const usedDatabase = async ({ settings, of, signal }: Means, app: Pick<App, 'uses'>, secrets: Secrets): Promise<string> => {
  const use = askable(app, secrets)
  return use && await hasTables(settings, use, of, signal) ? use.database : ''
}

/** True where the PostgreSQL database of an application has no tables; not where nobody can tell, or where it does not answer. */
export const hasNoTables = async ({ settings, of, signal }: Means, app: Pick<App, 'uses'>, secrets: Secrets): Promise<boolean> => {
  const use = askable(app, secrets)
  if (!use) return false
  return !(await hasTables(settings, use, of, signal).catch((error: unknown) => {
    if (isAbort(error)) throw error
    return true
  }))
}

// The passwords get into the environment of one command, never into its arguments.
const lookAtPostgres = ({ settings, apps }: Means): string => {
  const { address, port } = settings.backends.postgres
  return usesOf(apps, 'postgres').map(({ use: { user, database, password } }) =>
    `PGPASSWORD=$(cat ${pathOf(settings, password)}) psql -h ${address} -p ${port} -U ${user} ${database} <<'END'
SELECT version(), pg_is_in_recovery(), current_setting('max_connections'), has_schema_privilege(current_schema(), 'CREATE');
\\dx
END`).join('\n')
}

const lookAtRedis = ({ settings, apps }: Means): string => {
  const { address, port } = settings.backends.redis
  return usesOf(apps, 'redis').map(({ use: { database, password } }) =>
    `REDISCLI_AUTH=$(cat ${pathOf(settings, password)}) redis-cli -h ${address} -p ${port} -n ${database} INFO |
  grep -E '^(role|maxmemory_policy|redis_version):'`).join('\n')
}

const lookAtRabbitmq = ({ settings, apps }: Means): string =>
  usesOf(apps, 'rabbitmq').map(({ use: { user, vhost, password } }) => `# On a server of RabbitMQ:
rabbitmqctl authenticate_user ${user} # type what is in ${pathOf(settings, password)}
rabbitmqctl list_permissions -p ${vhost}`).join('\n')

const lookAtMinio = ({ settings, apps }: Means, command: string): string => {
  const { address, port } = settings.backends.minio
  return usesOf(apps, 'minio').map(({ use: { bucket, accessKey, secretKey } }) => `key=$(cat ${pathOf(settings, accessKey)})
secret=$(cat ${pathOf(settings, secretKey)})
MC_HOST_keybuzz="http://$key:$secret@${address}:${port}" mc ${command} keybuzz/${bucket}`).join('\n')
}
