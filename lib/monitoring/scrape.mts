import type { Settings } from '../input/settings.mts'
import { vaultCa } from '../vault/vault.mts'
import type { Target, Targets } from './targets.mts'

/** Where Prometheus's pods find the tokens of others, from the Secret `exporters`. */
const token = (name: string): string => JSON.stringify({ credentials_file: `/etc/prometheus/tokens/${name}` })

/** The placeholders of prometheus/config.yaml that depend on what there is to ask, each as YAML on one line. Throws as `vaultCa` does. */
export const scrapeValues = async (settings: Settings, targets: Targets): Promise<Record<string, string>> => {
  const { backends, monitoring: { minio, vault } } = settings
  // A token is for Vault alone. Without one only numbers are read.
  const tls = vault.token ? trusting(await vaultCa(settings)) : { insecure_skip_verify: true }
  return {
    ...Object.fromEntries(Object.entries(targets).map(([job, list]: [string, Target[]]) => [job.toUpperCase(), JSON.stringify(list)])),
    MINIO_AUTHORIZATION: minio.token ? token('minio-token') : 'null',
    VAULT_AUTHORIZATION: vault.token ? token('vault-token') : 'null',
    VAULT_SCHEME: backends.vault.tls ? 'https' : 'http',
    VAULT_TLS: JSON.stringify(tls)
  }
}

// '' for the system's own certificates.
const trusting = (ca: string): object => (ca === '' ? {} : { ca })
