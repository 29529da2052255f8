# One server; in the field there may be three. The lab initializes and unseals it (test/lab/vault.mts).
storage "raft" {
  path    = "/var/lib/vault/raft"
  node_id = "vault-01"
}

listener "tcp" {
  address       = "0.0.0.0:8200"
  tls_cert_file = "/etc/vault.d/cert.pem"
  tls_key_file  = "/etc/vault.d/key.pem"

  # Prometheus reads /v1/sys/metrics without a token.
  telemetry {
    unauthenticated_metrics_access = true
  }
}

api_addr     = "https://10.0.0.150:8200"
cluster_addr = "https://10.0.0.150:8201"

# As Vault's documentation strongly recommends with raft.
disable_mlock = true

telemetry {
  prometheus_retention_time = "24h"
  disable_hostname          = true
}
