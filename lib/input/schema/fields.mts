import { z } from 'zod'
import { isUnicast, parseAddress } from '../../base/ipv4.mts'
import { isDomain } from '../../base/names.mts'

// What the sections are made of. The message of each schema completes "expected ...". `params.remedy` says what to do
// about it; without one it is to correct the value, or to delete the key (lib/input/settings.mts).

/** A whole number within the bounds. */
export const integer = (least: number, most: number, unit = '') => {
  const error = `a whole number from ${least} to ${most}${unit && ` (${unit})`}`
  return z.int({ error }).min(least, { error }).max(most, { error })
}

/** A number within the bounds, which may have decimals. */
export const number = (least: number, most: number, unit: string) => {
  const error = `a number from ${least} to ${most} (${unit})`
  return z.number({ error }).min(least, { error }).max(most, { error })
}

/** Text for which `holds` is true. */
export const text = (error: string, holds: (value: string) => boolean) => z.string({ error }).refine(holds, { error })

/**
 * A section, complete with the defaults of its keys. `ssh:` with every key below it commented out reads as null, and
 * means the defaults.
 */
export const section = <Shape extends z.ZodRawShape>(shape: Shape) =>
  z.preprocess((value) => value ?? {}, z.strictObject(shape, { error: 'keys with values, indented below it' }))
    .prefault({})

/** The remedy where a list has something twice. */
export const TWICE = 'Delete one of the two.'

/** A list of so many items, each one once. */
export const list = <Item extends z.ZodType>(item: Item, least: number, most: number, of: string) => {
  const error = `a list of ${least === 0 ? 'at most' : `${least} to`} ${most} ${of}`
  return z.array(item, { error }).min(least, { error }).max(most, { error }).superRefine((items, context) => {
    for (const [index, value] of items.entries()) {
      if (items.indexOf(value) === index) continue
      context.addIssue({ code: 'custom', path: [index], message: 'each one once', params: { remedy: TWICE } })
    }
  })
}

/** The address of a machine. */
export const address = () =>
  text('an IPv4 address that a server can have', (value) => isUnicast(parseAddress(value) ?? 0))

/** A TCP port. */
export const port = () => integer(1, 65535)

/** A boolean. */
export const yesOrNo = () => z.boolean({ error: 'true or false' })

const IMAGE = /^[a-z0-9][a-z0-9.-]*(:\d+)?(\/[a-z0-9][a-z0-9._-]*)+:[\w][\w.-]{0,127}(@sha256:[0-9a-f]{64})?$/

/** An image with its registry and tag, and perhaps its digest. */
export const image = () =>
  text('an image with a tag, such as docker.io/nginx/nginx-ingress:5.5.4', (value) => IMAGE.test(value))

/** The name in the DNS at which something answers through the public load balancers. */
export const host = (name: string) => text('a domain name such as n8n.keybuzz.io', isDomain).default(name)

/** What PostgreSQL takes without quotes. */
export const identifier = (name: string) =>
  text('a name of lower-case letters, digits and "_"', (value) => /^[a-z_][a-z0-9_]{0,62}$/.test(value)).default(name)

/** CPUs and memory of one container. There is no CPU limit: it would slow a pod on an idle node. */
export const resources = (cpu: number, memory: number, most: number) =>
  section({
    cpus: number(0.01, 64, 'CPUs').default(cpu),
    memory: integer(16, 262_144, 'MiB').default(memory),
    most_memory: integer(16, 262_144, 'MiB').default(most)
  })
