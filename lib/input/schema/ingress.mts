import { z } from 'zod'
import { isDomain } from '../../base/names.mts'
import { image, integer, section, text } from './fields.mts'

/** Hetzner's load balancers can do the first in TCP mode, the second in HTTP mode. */
const CLIENT_ADDRESS = ['proxy-protocol', 'x-forwarded-for', 'none'] as const

/** nginx on every node. */
export const ingress = section({
  image: image().default('docker.io/nginx/nginx-ingress:5.5.4'),
  client_address: z.enum(CLIENT_ADDRESS, { error: `one of ${CLIENT_ADDRESS.join(', ')}` }).default('x-forwarded-for'),
  certificate: text("the absolute path of a PEM file on the bastion, or ''", (value) => /^(\/[\w./+@-]*)?$/.test(value))
    .default(''),
  health_check: section({
    path: text('a path such as /healthz', (value) => /^\/[\w./~-]{1,200}$/.test(value)).default('/healthz'),
    host: text("a domain name, or '' for none", (value) => value === '' || isDomain(value)).default(''),
    interval: integer(1, 60, 'seconds').default(15),
    timeout: integer(1, 60, 'seconds').default(10),
    retries: integer(1, 10, 'failures in a row').default(3)
  })
})
