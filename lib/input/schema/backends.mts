import { isDomain } from '../../base/names.mts'
import { address, integer, port, section, text, yesOrNo } from './fields.mts'

/** `address: ''` says that there is none. Then nothing asks it, and no application can use it. */
const optionalAddress = () =>
  text("an IPv4 address, or '' if there is none", (value) => value === '' || address().safeParse(value).success)

/** A host that may have a name only, such as a mail server. */
const optionalHost = () =>
  text("a domain name or an IPv4 address, or '' if there is none", (value) =>
    value === '' || isDomain(value) || address().safeParse(value).success)

/** Who makes what is missing, where `create` says so. */
const admin = () => text('a user name without blanks', (value) => /^[\w.@-]{1,63}$/.test(value))

/** The stateful services. They run outside the cluster, on servers of their own. */
export const backends = section({
  postgres: section({
    address: optionalAddress().default('10.0.0.10'),
    port: port().default(5432),
    admin: admin().default('postgres')
  }),
  redis: section({ address: optionalAddress().default('10.0.0.10'), port: port().default(6379) }),
  rabbitmq: section({
    address: optionalAddress().default('10.0.0.10'),
    port: port().default(5672),
    management_port: port().default(15672),
    admin: admin().default('admin')
  }),
  minio: section({
    address: optionalAddress().default('10.0.0.134'),
    port: port().default(9000),
    region: text('a region such as us-east-1', (value) => /^[a-z0-9-]{1,32}$/.test(value)).default('us-east-1')
  }),
  mariadb: section({ address: optionalAddress().default('10.0.0.20'), port: port().default(3306) }),
  vault: section({
    address: optionalAddress().default('10.0.0.150'),
    port: port().default(8200),
    tls: yesOrNo().default(true),
    ca: text("the absolute path of a file, or '' for the system's own", (value) => value === '' || /^\/[^\0]+$/.test(value)).default('')
  }),
  smtp: section({
    host: optionalHost().default(''),
    port: port().default(587),
    user: text('a user name without blanks', (value) => /^\S{0,200}$/.test(value)).default(''),
    from: text("an address such as no-reply@keybuzz.io, or ''", (value) => value === '' || /^[^\s@]+@[^\s@]+$/.test(value))
      .default('')
  }),
  create: yesOrNo().default(false),
  spare_connections: integer(0, 10_000, 'connections').default(20)
})
