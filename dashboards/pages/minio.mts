import { AWAY_OR_THERE, NO_OR_YES, type Page } from '../panel.mts'
import { orZero, rateBy } from '../promql.mts'

const M = 'job="minio"'
const UP = `up{${M}}`

export const minio: Page = {
  uid: 'minio',
  title: 'MinIO',
  says: 'The store of files outside the cluster.',
  sections: [
    {
      title: 'Is it there?',
      panels: [
        {
          kind: 'states', title: 'Health', alerts: ['MinioHostDown'], related: ['MinioDown'],
          says: 'Whether MinIO answers Prometheus, and has enough drives to take writes.', unit: 'short', size: [8, 7],
          words: NO_OR_YES,
          queries: [
            { expr: `min by (instance) (up{${M}})`, legend: '{{instance}} answers' },
            { expr: `min by (instance) (minio_cluster_health_status{${M}})`, legend: '{{instance}} is healthy' }
          ]
        },
        {
          kind: 'states', title: 'The address that applications use', alerts: ['MinioDown'],
          says: 'Whether a pod can connect to it.', unit: 'short', size: [8, 7],
          words: AWAY_OR_THERE,
          queries: [{ expr: 'min by (backend) (probe_success{job="backends", backend="minio"})', legend: '{{backend}}' }]
        },
        {
          kind: 'number', title: 'Nodes away', alerts: ['MinioNodeOffline'],
          says: 'Servers of MinIO that do not answer the others.', unit: 'short', size: [4, 7],
          queries: [{ expr: `max by (instance) (minio_cluster_nodes_offline_total{${M}})`, legend: '{{instance}}' }]
        },
        {
          kind: 'number', title: 'Drives away', alerts: ['MinioDriveOffline'], says: 'Drives that cannot be read or written.',
          unit: 'short', size: [4, 7],
          queries: [{ expr: `max by (instance) (minio_cluster_drive_offline_total{${M}})`, legend: '{{instance}}' }]
        }
      ]
    },
    {
      title: 'Is it full?',
      panels: [
        {
          kind: 'lines', title: 'Space free', unit: 'percentunit', size: [12, 8], max: 1, alerts: ['MinioFull'],
          says: 'At 0 % every upload fails.',
          queries: [{
            expr: `min by (instance) (minio_cluster_capacity_usable_free_bytes{${M}} / minio_cluster_capacity_usable_total_bytes{${M}})`,
            legend: '{{instance}}'
          }]
        },
        {
          kind: 'lines', title: 'Space', unit: 'bytes', size: [12, 8], says: 'What files may take, and what is left of it.',
          queries: [
            { expr: `max by (instance) (minio_cluster_capacity_usable_total_bytes{${M}})`, legend: '{{instance}} all' },
            { expr: `max by (instance) (minio_cluster_capacity_usable_free_bytes{${M}})`, legend: '{{instance}} free' }
          ]
        }
      ]
    },
    {
      title: 'What does it do?',
      panels: [
        {
          kind: 'lines', title: 'Requests', unit: 'reqps', size: [8, 8], says: 'S3 requests in a second.',
          queries: [{ expr: orZero('instance', rateBy('instance', `minio_s3_requests_total{${M}}`), UP), legend: '{{instance}}' }]
        },
        {
          kind: 'lines', title: 'Requests that fail by the fault of MinIO', unit: 'reqps', size: [8, 8],
          says: 'Answers 5xx in a second.',
          queries: [{
            expr: orZero('instance', rateBy('instance', `minio_s3_requests_5xx_errors_total{${M}}`), UP),
            legend: '{{instance}}'
          }]
        },
        {
          kind: 'lines', title: 'Traffic', unit: 'Bps', size: [8, 8], says: 'Files in and out.',
          queries: [
            { expr: rateBy('instance', `minio_s3_traffic_received_bytes{${M}}`), legend: '{{instance}} in' },
            { expr: rateBy('instance', `minio_s3_traffic_sent_bytes{${M}}`), legend: '{{instance}} out' }
          ]
        }
      ]
    }
  ]
}
