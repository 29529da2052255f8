import { age } from '../base/words.mts'
import type { Settings } from '../input/settings.mts'
import type { Run } from '../run/run.mts'
import type { ClusterStep } from '../run/step.mts'
import { ofSecrets, type Secrets } from '../secrets/holder.mts'
import type { App } from './app.mts'
import { readLentUsers } from './backends/postgres.mts'
import type { UseOf } from './backends/uses.mts'

/** The step that the users of PostgreSQL that Vault has made for an application's pods are valid, as long as the pods use them. */
export const hasValidUsers = ({ settings, signal }: Pick<Run, 'settings' | 'signal'>, { namespace, name, uses }: App, secrets: Secrets): ClusterStep => {
  const use = uses.find(({ backend }) => backend === 'postgres') as UseOf<'postgres'>
  return {
    name: 'has users of PostgreSQL that are valid',
    check: async () => {
      const { users, left, own } = await readLentUsers(settings, use, ofSecrets(secrets.known), signal)
      const itself = own === 0 ? [] : [`= ${own} connections are of the role ${use.user} itself`]
      if (left === null) return ['= none is logged in at this moment', ...itself].join('\n')
      if (left < 0) return `one that a pod uses has ended ${age(-left)} ago: it gets no new connection`
      return [`= ${users}, and the first of them ends in ${age(left)} unless it is renewed`, ...itself].join('\n')
    },
    look: `# As a superuser, in the database ${use.database}:
SELECT usename, rolvaliduntil FROM pg_stat_activity JOIN pg_roles ON rolname = usename WHERE datname = '${use.database}';`,
    hint: `is Vault unsealed? Then: kubectl -n ${namespace} logs -l app=${name} -c vault-agent; docs/vault.md`
  }
}

/** Milliseconds from now until a time of the day in UTC, as 03:30. */
export const untilTimeOfDay = (at: string, now: Date): number => {
  const [hour = 0, minute = 0] = at.split(':').map(Number)
  const next = Date.UTC(now.getUTCFullYear(), now.getUTCMonth(), now.getUTCDate(), hour, minute)
  return next > now.getTime() ? next - now.getTime() : next + 86_400_000 - now.getTime()
}

type Pod = { metadata: { name: string; creationTimestamp: string; annotations?: Record<string, string>; ownerReferences?: { kind: string }[] } }

/** The step that an application's pods are replaced each night, long before their users of PostgreSQL must end. */
export const isRotated = ({ settings, kubectl }: Pick<Run, 'kubectl'> & { settings: Settings }, { namespace }: App): ClusterStep => {
  const { rotation: { at }, database: { most_hours: most } } = settings.vault
  return {
    name: 'replaces its pods in time',
    check: async () => {
      const { spec: { suspend } } = JSON.parse(await kubectl`-n ${namespace} get cronjob rotation -o json`) as { spec: { suspend?: boolean } }
      if (suspend) return `the CronJob ${namespace}/rotation is suspended`
      const { items } = JSON.parse(await kubectl`-n ${namespace} get pods -o json`) as { items: Pod[] }
      const [oldest] = items.filter(({ metadata: { annotations = {}, ownerReferences = [] } }) =>
        'keybuzz.io/vault-agent' in annotations && ownerReferences.some(({ kind }) => kind === 'ReplicaSet'))
        .map(({ metadata: { name, creationTimestamp } }) => ({ name, hours: (Date.now() - Date.parse(creationTimestamp)) / 3_600_000 }))
        .toSorted((one, other) => other.hours - one.hours)
      const age = oldest === undefined ? '' : `, the oldest pod is ${Math.round(oldest.hours)} h old of ${most} h at most`
      if (oldest && oldest.hours > most - 24) return `${oldest.name} is ${Math.round(oldest.hours)} h old, and its user of PostgreSQL ends at ${most} h`
      return `= the next time in ${(untilTimeOfDay(at, new Date()) / 86_400_000).toFixed(1)} days, at ${at} UTC${age}`
    },
    look: `kubectl -n ${namespace} get cronjob rotation
kubectl -n ${namespace} get pods --sort-by=.metadata.creationTimestamp     # none is older than ${most - 24} h`,
    hint: `kubectl -n ${namespace} get jobs,events; at once: kubectl -n ${namespace} create job --from=cronjob/rotation by-hand`
  }
}
