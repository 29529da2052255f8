import { z } from 'zod'
import { host, identifier, image, integer, resources, section, text, yesOrNo } from './fields.mts'

const optionalImage = () => text("an image with a tag, or ''", (value) => value === '' || image().safeParse(value).success)

/** Chatwoot's plain image sets the brand back every day (its reconcile_plan_config_service.rb). */
const communityImage = () =>
  image().refine((value) => /-ce(@|$)/.test(value), {
    error: 'a tag that ends in -ce: the plain image sets the brand back to Chatwoot every day',
    params: { remedy: 'Name the image of the same release with -ce.' }
  })

const bucket = (name: string) =>
  text('a name of 3 to 63 lower-case letters, digits and "-"', (value) => /^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$/.test(value))
    .default(name)

const redisDatabase = (index: number) => integer(0, 15, 'the number of a Redis database').default(index)

const replicas = (count: number) => integer(2, 100, 'replicas: one node may be lost').default(count)

/** Between these numbers the HorizontalPodAutoscaler chooses. */
const scale = (least: number, most: number) =>
  section({
    least: integer(2, 100, 'replicas').default(least),
    most: integer(2, 500, 'replicas').default(most),
    cpu: integer(10, 100, '% of the requested CPUs').default(70),
    memory: integer(10, 200, '% of the requested memory').default(80)
  })

const VARIABLE = /^[A-Z_][A-Z0-9_]{0,127}$/

/** Further environment variables. Secrets do not belong here. */
const environment = () =>
  z.record(
    text('a variable such as LOG_LEVEL', (value) => VARIABLE.test(value)),
    z.string({ error: 'text, in quotes if it looks like a number' }),
    { error: (issue) => (issue.code === 'invalid_key' ? 'a variable such as LOG_LEVEL before the colon' : 'variable: text') }
  ).default({})

/** [] stands for none. */
const command = () => z.array(text('a word of a command', (value) => /^[^\n\r]{1,500}$/.test(value)), { error: 'a list of words' }).default([])

const path = (value: string) => text('a path such as /health', (given) => /^\/[\w./~-]{0,200}$/.test(given)).default(value)

const url = (value: string) =>
  text("an https address, or ''", (given) => given === '' || (/^https:\/\/[^\s"'\\]+$/.test(given) && URL.canParse(given))).default(value)

const label = (value: string) => text('text on one line, without quotes and backslashes', (given) => /^[^\n"'\\]{1,100}$/.test(given)).default(value)

const timezone = () => text('a time zone such as Europe/Paris', (value) => /^[A-Za-z]+(\/[\w+-]+){0,2}$/.test(value)).default('Europe/Paris')

/** The applications of 09_k3s_06. */
export const apps = section({
  // A pod counts as available after 10 s (minReadySeconds), and the API takes no deadline that is not longer.
  rollout_timeout: integer(20, 3600, 'seconds').default(300),
  registry: section({
    server: text("the name of a registry, or ''", (value) => /^[a-z0-9.:-]*$/.test(value)).default('ghcr.io'),
    user: text("a user name, or ''", (value) => /^[\w.@+-]{0,100}$/.test(value)).default('')
  }),
  api: section({
    enabled: yesOrNo().default(true),
    host: host('platform-api.keybuzz.io'),
    image: optionalImage().default(''),
    port: integer(1024, 65535).default(8080),
    alive: path('/health'),
    ready: path('/health'),
    command: command(),
    migrate: command(),
    replicas: scale(3, 20),
    resources: resources(0.25, 256, 512),
    database: identifier('keybuzz'),
    user: identifier('keybuzz'),
    connections: integer(1, 1000, 'PostgreSQL connections of a pod').default(10),
    redis_database: redisDatabase(0),
    vhost: text('a RabbitMQ vhost', (value) => /^[\w./-]{1,100}$/.test(value)).default('keybuzz'),
    bucket: bucket('keybuzz'),
    environment: environment()
  }),
  front: section({
    enabled: yesOrNo().default(true),
    host: host('platform.keybuzz.io'),
    image: optionalImage().default(''),
    port: integer(1024, 65535).default(3000),
    alive: path('/'),
    ready: path('/'),
    replicas: scale(3, 20),
    resources: resources(0.1, 128, 256),
    environment: environment()
  }),
  chatwoot: section({
    enabled: yesOrNo().default(true),
    host: host('support.keybuzz.io'),
    image: communityImage().default('docker.io/chatwoot/chatwoot:v4.15.1-ce'),
    web: section({ replicas: replicas(2), resources: resources(0.5, 1024, 1536) }),
    sidekiq: section({ replicas: replicas(2), concurrency: integer(1, 100, 'threads').default(10), resources: resources(0.5, 1024, 1536) }),
    threads: integer(1, 100, 'threads of a web pod').default(5),
    database: identifier('chatwoot'),
    user: identifier('chatwoot'),
    redis_database: redisDatabase(1),
    bucket: bucket('chatwoot'),
    locale: text('a language such as fr or pt_BR', (value) => /^[a-z]{2}(_[A-Z]{2})?$/.test(value)).default('fr'),
    brand: section({
      name: label('KeyBuzz'),
      url: url('https://keybuzz.io'),
      terms: url(''),
      privacy: url(''),
      logo: url(''),
      logo_dark: url(''),
      thumbnail: url('')
    }),
    environment: environment()
  }),
  n8n: section({
    enabled: yesOrNo().default(true),
    host: host('n8n.keybuzz.io'),
    image: image().default('docker.io/n8nio/n8n:2.48.5'),
    runners_image: image().default('docker.io/n8nio/runners:2.48.5'),
    main: section({ resources: resources(0.2, 512, 1024) }),
    webhook: section({ replicas: replicas(2), resources: resources(0.1, 320, 640) }),
    worker: section({
      replicas: replicas(2),
      concurrency: integer(5, 200, 'workflows at once: fewer than 5 leave database connections unused').default(10),
      resources: resources(0.2, 512, 1024)
    }),
    runner: section({ resources: resources(0.1, 256, 512) }),
    pool: integer(1, 50, 'PostgreSQL connections of a pod').default(4),
    database: identifier('n8n'),
    user: identifier('n8n'),
    redis_database: redisDatabase(2),
    timezone: timezone(),
    proxy_hops: integer(0, 5, 'proxies in front').default(1),
    environment: environment()
  }),
  superset: section({
    enabled: yesOrNo().default(false),
    host: host('analytics.keybuzz.io'),
    image: image().default('docker.io/apache/superset:6.1.0'),
    web: section({ replicas: replicas(2), resources: resources(0.5, 1024, 2048) }),
    worker: section({ replicas: replicas(2), concurrency: integer(1, 64, 'queries at once').default(4), resources: resources(0.5, 1536, 2560) }),
    beat: yesOrNo().default(false),
    database: identifier('superset'),
    user: identifier('superset'),
    admin: text('a user name', (value) => /^[\w.@-]{1,64}$/.test(value)).default('admin'),
    redis_database: redisDatabase(3),
    environment: environment()
  })
})
