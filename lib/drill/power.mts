import type { Host } from '../input/inventory.mts'
import { Secret } from '../input/secrets.mts'
import { createHetzner, type HetznerOptions } from '../reach/hetzner.mts'

/** Switches a machine off, as if its power failed, and on again. Each ends once that is done. */
export type Power = { off: (host: Host) => Promise<void>; on: (host: Host) => Promise<void> }

/**
 * Power control through Hetzner's API with the token in HCLOUD_TOKEN, or nothing where there is none. `signal` ends
 * switching off, and never switching on: ctrl-C must not keep a server off.
 */
export const hetznerPower = ({ signal, ...options }: HetznerOptions): Power | undefined => {
  const token = process.env['HCLOUD_TOKEN']?.trim()
  if (!token) return undefined
  const secret = new Secret(token)
  const off = createHetzner(secret, { ...options, ...(signal ? { signal } : {}) })
  const on = createHetzner(secret, options)
  return {
    off: async ({ address }) => off.powerOff(await off.serverAt(address)),
    on: async ({ address }) => on.powerOn(await on.serverAt(address))
  }
}
