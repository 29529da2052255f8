import { z } from 'zod'
import { isDomain } from '../../base/names.mts'
import { integer, section, text, yesOrNo } from './fields.mts'

const isReplicas = (value: unknown) => value === 'every-node' || z.int().min(2).max(100).safeParse(value).success

const isFolder = (value: string) => /^(\/[\w.+@-]+)+$/.test(value) && !/\/\.\.?(\/|$)/.test(value)

/** CoreDNS, metrics-server, and volumes. */
export const addons = section({
  dns_replicas: z.custom<'every-node' | number>(isReplicas, {
    error: 'every-node, or a whole number from 2 to 100: with one, its node takes all names along'
  }).default('every-node'),
  outside_name: text('a domain name such as one.one.one.one', isDomain).default('one.one.one.one'),
  metrics_replicas: integer(2, 10, 'replicas').default(2),
  volumes: section({
    path: text('the absolute path of a folder on the workers, not /', isFolder)
      .default('/var/lib/rancher/k3s/storage'),
    mounted: yesOrNo().default(false)
  })
})
