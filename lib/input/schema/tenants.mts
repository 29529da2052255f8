import { z } from 'zod'
import { integer, number, section, text, TWICE } from './fields.mts'

const error = 'a list of tenants, each with a name'

/** Namespaces of tenants, with what each may use. */
export const tenants = z.array(section({
  // The namespace is tenant-NAME, and a namespace has at most 63 characters.
  name: text('a name of at most 40 lower-case letters, digits and "-"', (value) => /^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$/.test(value)),
  pods: integer(1, 10_000, 'pods').default(50),
  cpus: number(0.1, 10_000, 'CPUs').default(4),
  memory: integer(64, 10_000_000, 'MiB').default(8192),
  storage: integer(0, 1_000_000, 'GiB').default(20)
}), { error }).default([]).superRefine((all, context) => {
  for (const [index, { name }] of all.entries()) {
    if (all.findIndex((other) => other.name === name) === index) continue
    context.addIssue({ code: 'custom', path: [index, 'name'], message: 'each name once', params: { remedy: TWICE } })
  }
})
