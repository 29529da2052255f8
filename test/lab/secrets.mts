import { createHash } from 'node:crypto'

const hex = (name: string): string => createHash('sha256').update(`the lab's ${name}`).digest('hex')

/** A password that is the same in every lab, with these signs in its midst: wrong quoting is to show. */
const passwords = (signs: Record<string, string>): Record<string, string> =>
  Object.fromEntries(Object.entries(signs).map(([name, odd]) => [name, `${hex(name).slice(0, 12)}${odd}${hex(name).slice(12, 24)}`]))

/** An access key and a secret key as MinIO makes them: 20 letters and digits, and 40 signs of base64. */
const keys = (prefix: string): Record<string, string> => ({
  [`${prefix}_ACCESS_KEY`]: hex(`${prefix}_ACCESS_KEY`).slice(0, 20).toUpperCase(),
  [`${prefix}_SECRET_KEY`]: createHash('sha512').update(`the lab's ${prefix}_SECRET_KEY`).digest('base64').slice(0, 40)
})

/**
 * The secrets that an operator gives to 09_k3s_06 to 08, by their variables. The bastion has them in its environment, and in
 * /etc/lab/secrets for --secrets. The stateful services have the same.
 */
export const givenSecrets: Record<string, string> = {
  ...passwords({
    KEYBUZZ_REDIS_PASSWORD: '@:/?#%',
    KEYBUZZ_REGISTRY_PASSWORD: ':@',
    KEYBUZZ_API_POSTGRES_PASSWORD: '@:/?#%',
    KEYBUZZ_API_RABBITMQ_PASSWORD: '%2F@:/#',
    KEYBUZZ_CHATWOOT_POSTGRES_PASSWORD: `$(HOME)'"\\n`,
    KEYBUZZ_N8N_POSTGRES_PASSWORD: '+ &=%',
    KEYBUZZ_SUPERSET_POSTGRES_PASSWORD: '@:/%25{}',
    KEYBUZZ_SUPERSET_ADMIN_PASSWORD: '<&>+=',
    KEYBUZZ_MONITORING_POSTGRES_PASSWORD: '@:/?#%',
    KEYBUZZ_MONITORING_MYSQL_PASSWORD: '#;@:/%"`=',
    KEYBUZZ_VAULT_POSTGRES_PASSWORD: '@:/?#%'
  }),
  KEYBUZZ_PAGES_WEBHOOK: 'http://alerts-01.lab.keybuzz.io:8080/webhook/pages',
  KEYBUZZ_TICKETS_WEBHOOK: 'http://alerts-01.lab.keybuzz.io:8080/webhook/tickets',
  KEYBUZZ_WATCHDOG_URL: 'http://alerts-01.lab.keybuzz.io:8080/ping/watchdog',
  ...keys('KEYBUZZ_API_MINIO'),
  ...keys('KEYBUZZ_CHATWOOT_MINIO')
}

/** Vault's token of the operators, which may do what docs/vault.md lists. The bastion has it as VAULT_TOKEN. */
export const vaultToken = hex('VAULT_TOKEN').slice(0, 28)

/** What alerts-01 takes mail for, on port 2525. The lab's settings name no mail server: a test that does gives this too. */
export const mailSecrets: Record<string, string> = passwords({ KEYBUZZ_SMTP_PASSWORD: '@:#%' })

/**
 * What the administrators of the stateful services have: for PostgreSQL's role postgres, RabbitMQ's user admin, MinIO's
 * root, ERPNext's user of MariaDB, and a token of Vault that may do all. In the bastion only in /etc/lab/admin-secrets.
 */
export const adminSecrets: Record<string, string> = {
  ...passwords({
    KEYBUZZ_POSTGRES_ADMIN_PASSWORD: '@:/#%',
    KEYBUZZ_RABBITMQ_ADMIN_PASSWORD: '@:/#%',
    KEYBUZZ_ERPNEXT_MARIADB_PASSWORD: '@:/#%'
  }),
  ...keys('KEYBUZZ_MINIO_ADMIN'),
  KEYBUZZ_VAULT_ADMIN_TOKEN: hex('KEYBUZZ_VAULT_ADMIN_TOKEN').slice(0, 28)
}

/** Secrets as lines of a file or of an environment: NAME=value, without quotes. */
export const asEnvironment = (secrets: Record<string, string>): string[] =>
  Object.entries(secrets).map(([name, value]) => `${name}=${value}`)
