import { z } from 'zod'
import { identifier, image, integer, resources, section, text } from './fields.mts'

const mount = (name: string) =>
  text('a path of letters, digits, "-" and "_"', (value) => /^[\w-]{1,63}$/.test(value)).default(name)

/** The applications that have secrets, and so can get them from Vault. */
export const vaultApps = ['api', 'chatwoot', 'n8n', 'superset'] as const

/** What 09_k3s_08 sets up in Vault and in the cluster. Where Vault is stands in `backends`. */
export const vault = section({
  auth_path: mount('k3s'),
  kv: mount('keybuzz'),
  database: section({
    mount: mount('database'),
    user: identifier('keybuzz_vault'),
    hours: integer(1, 8760, 'hours').default(24),
    most_hours: integer(50, 8760, 'hours: two nights, in each of which pods get new users').default(72)
  }),
  apps: z.array(z.enum(vaultApps, { error: `one of ${vaultApps.join(', ')}` }), { error: 'a list of applications' }).default([]),
  rotation: section({
    at: text('a time of the day, such as 03:30', (value) => /^([01]\d|2[0-3]):[0-5]\d$/.test(value)).default('03:30'),
    image: image().default('registry.k8s.io/kubectl:v1.36.5')
  }),
  agent: section({
    image: image().default('docker.io/hashicorp/vault:2.0.0'),
    interval: integer(10, 86_400, 'seconds').default(300),
    resources: resources(0.01, 48, 256)
  })
})
