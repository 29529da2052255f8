import type { Page } from './panel.mts'
import { apiserver } from './pages/apiserver.mts'
import { apps } from './pages/apps.mts'
import { capacity } from './pages/capacity.mts'
import { cluster } from './pages/cluster.mts'
import { etcd } from './pages/etcd.mts'
import { ingress } from './pages/ingress.mts'
import { mariadb } from './pages/mariadb.mts'
import { minio } from './pages/minio.mts'
import { monitoring } from './pages/monitoring.mts'
import { n8n } from './pages/n8n.mts'
import { nodes } from './pages/nodes.mts'
import { postgres } from './pages/postgres.mts'
import { rabbitmq } from './pages/rabbitmq.mts'
import { redis } from './pages/redis.mts'
import { vault } from './pages/vault.mts'
import { workloads } from './pages/workloads.mts'

/** Every dashboard. */
export const pages: Page[] = [
  cluster, etcd, apiserver, nodes, workloads, ingress, apps, n8n, postgres, redis, rabbitmq, minio, mariadb, vault, capacity, monitoring
]
