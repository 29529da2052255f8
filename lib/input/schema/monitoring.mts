import { z } from 'zod'
import { isHostname } from '../../base/names.mts'
import { host, identifier, image, integer, list, port, resources, section, text, yesOrNo } from './fields.mts'
import { POOLS } from './nodes.mts'

/** One exporter, which has no more to be set. */
const exporter = (name: string, memory: number) =>
  section({ image: image().default(name), resources: resources(0.02, memory, 2 * memory) })

/** Where messages of one kind go. Addresses that hold a secret are secrets: here stands only whether there is one. */
const receiver = () =>
  section({
    webhook: yesOrNo().default(false),
    slack: text("a channel such as #alerts, or ''", (value) => value === '' || /^[#@][\w.-]{1,80}$/.test(value)).default(''),
    email: text("an address such as ops@keybuzz.io, or ''", (value) => value === '' || /^[^\s@"',]+@[^\s@"',]+$/.test(value)).default('')
  })

const isFolderUrl = (value: string): boolean => /^https:\/\/[\w.:/~%+-]+\/$/.test(value) && URL.canParse(value)

/** What 09_k3s_07 installs. */
export const monitoring = section({
  pools: list(z.enum(POOLS, { error: `one of ${POOLS.join(', ')}` }), 1, POOLS.length, 'pools').default(['observability', 'reserve']),
  ignore: list(text('a HOSTNAME of servers.tsv', isHostname), 0, 1000, 'names').default([]),
  prometheus: section({
    image: image().default('quay.io/prometheus/prometheus:v3.16.0'),
    replicas: integer(1, 2, 'replicas').default(2),
    days: integer(1, 365, 'days').default(15),
    size: integer(1, 10_000, 'GiB').default(20),
    resources: resources(0.5, 2048, 4096)
  }),
  alertmanager: section({
    image: image().default('quay.io/prometheus/alertmanager:v0.35.0'),
    resources: resources(0.02, 64, 128)
  }),
  grafana: section({
    host: host('grafana.keybuzz.io'),
    image: image().default('docker.io/grafana/grafana:13.2.0'),
    admin: text('a user name', (value) => /^[\w.@-]{1,64}$/.test(value)).default('admin'),
    database: z.union([z.literal(''), identifier('grafana')], { error: "the name of a PostgreSQL database, or '' for none" }).default(''),
    user: identifier('grafana'),
    resources: resources(0.1, 512, 1024)
  }),
  node_exporter: exporter('quay.io/prometheus/node-exporter:v1.12.1', 32),
  kube_state_metrics: exporter('registry.k8s.io/kube-state-metrics/kube-state-metrics:v2.20.0', 128),
  blackbox: exporter('quay.io/prometheus/blackbox-exporter:v0.28.0', 32),
  postgres: section({
    exporter: exporter('quay.io/prometheuscommunity/postgres-exporter:v0.19.1', 48),
    user: identifier('keybuzz_monitoring'),
    port: port().default(5432)
  }),
  redis: section({ exporter: exporter('docker.io/oliver006/redis_exporter:v1.88.0', 48), port: port().default(6379) }),
  mariadb: section({
    exporter: exporter('quay.io/prometheus/mysqld-exporter:v0.19.0', 48),
    user: identifier('keybuzz_monitoring'),
    port: port().default(3306)
  }),
  rabbitmq: section({ port: port().default(5672), metrics_port: port().default(15_692) }),
  minio: section({ token: yesOrNo().default(false), port: port().default(9000) }),
  vault: section({ token: yesOrNo().default(false), port: port().default(8200) }),
  alerts: section({
    pages: receiver(),
    tickets: receiver(),
    runbooks: text("an https address that ends in /, or ''", (value) => value === '' || isFolderUrl(value)).default(''),
    watchdog: yesOrNo().default(false)
  })
})
