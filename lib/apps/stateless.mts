import { parseAllDocuments } from 'yaml'
import { type Fault } from '../base/errors.mts'

const STATEFUL = /(^|\/)(postgres(ql)?|pgvector|timescaledb|patroni|spilo|redis|valkey|rabbitmq|minio|mariadb|mysql|percona|mongo(db)?|etcd)(-\w+)*$/

type Seen = { kind?: string; metadata?: { name?: string }; spec?: { template?: { spec?: { containers?: { image?: string }[] } } } }

/**
 * What would put a database, a queue or an object store into the cluster: images of such, StatefulSets and claims of volumes.
 * `where` names the manifests.
 */
export const statefulFaults = (where: string, manifests: string[]): Fault[] =>
  manifests.flatMap((text) => parseAllDocuments(text).map((one) => one.toJS() as Seen | null)).flatMap((object): Fault[] => {
    const { kind = '', metadata, spec } = object ?? {}
    const fault = (value: string): Fault => ({
      file: where, what: `${kind} ${metadata?.name ?? ''}`.trim(), value,
      expected: 'stateless applications only: PostgreSQL, Redis, RabbitMQ, MinIO and MariaDB run in Docker on nodes of their own, never in K3s',
      remedy: 'Take it out, and name its address in backends of settings.yaml.'
    })
    const images = (spec?.template?.spec?.containers ?? []).map(({ image = '' }) => image.replace(/@.*$/, '').replace(/:[^/]*$/, ''))
    return [
      ...(kind === 'StatefulSet' || kind === 'PersistentVolumeClaim' ? [fault(kind)] : []),
      ...images.filter((image) => STATEFUL.test(image)).map(fault)
    ]
  })
