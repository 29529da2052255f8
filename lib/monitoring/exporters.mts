import { Scalar, stringify } from 'yaml'
import type { Settings } from '../input/settings.mts'

/** It asks this database for the state of all. A host that is dead must be told as such before Prometheus gives up (10 s). */
const options = { sslmode: 'disable', dbname: 'postgres', connect_timeout: '3' }

/**
 * The file of postgres-exporter with the user that it asks as: key postgres.yml of the Secret `exporters`. The exporter reads a
 * password only from this file (postgres_exporter: config.go). The private network is without TLS, as for the applications.
 * All values are quoted: by hand one is put in the place of the password as it is.
 */
export const postgresModules = ({ monitoring: { postgres: { user } } }: Settings, password: string): string =>
  stringify({
    auth_modules: { monitoring: { type: 'userpass', userpass: { username: user, password }, options } }
  }, { lineWidth: 0, defaultStringType: Scalar.QUOTE_DOUBLE, defaultKeyType: Scalar.PLAIN })
