import { z } from 'zod'
import { addons } from './schema/addons.mts'
import { apps } from './schema/apps.mts'
import { backends } from './schema/backends.mts'
import { text } from './schema/fields.mts'
import { ingress } from './schema/ingress.mts'
import { audit, k3s, snapshots } from './schema/k3s.mts'
import { monitoring } from './schema/monitoring.mts'
import { loadBalancers, network } from './schema/network.mts'
import { capacity, pools, prepare, ssh } from './schema/nodes.mts'
import { tenants } from './schema/tenants.mts'
import { vault } from './schema/vault.mts'

/** The file settings.yaml, with the default of every key. Each subject has its sections in a file of schema/. */
export const schema = z.preprocess((value) => value ?? {}, z.strictObject({
  environment: text('a name of letters, digits, "-" and "_"', (value) => /^[A-Za-z0-9][\w-]{0,62}$/.test(value))
    .default('prod'),
  ssh,
  network,
  load_balancers: loadBalancers,
  k3s,
  addons,
  ingress,
  capacity,
  snapshots,
  audit,
  prepare,
  pools,
  backends,
  apps,
  tenants,
  monitoring,
  vault
}, { error: 'keys with values' }))

/** Every setting, complete: what the file leaves out has its default. */
export type Settings = z.output<typeof schema>

/** The settings of an empty file. */
export const defaultSettings = (): Settings => schema.parse({})
