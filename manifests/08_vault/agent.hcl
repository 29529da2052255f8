# What the agent of ${ROLE} does. 09_k3s_08 writes it into the application's ConfigMap. The CA is in the environment.
vault {
  address = "${ADDRESS}"
  retry {
    # For ever. Where these are used up the agent begins anew, and reads every secret again: further database users.
    num_retries = 1000000
  }
}

auto_auth {
  method "kubernetes" {
    mount_path  = "${AUTH_PATH}"
    # Between two attempts, those of the templates too. When Vault is back after hours, it drops at once what has expired.
    min_backoff = "1s"
    max_backoff = "5s"
    config = {
      role       = "${ROLE}"
      token_path = "/var/run/secrets/vault/token"
    }
  }
  # Where `vault token revoke -self` looks for it.
  sink "file" {
    config = {
      path = "/home/vault/.vault-token"
      mode = 0600
    }
  }
}

template_config {
  # Files stay as they are while Vault is away.
  exit_on_retry_failure         = false
  # How often a secret without a lease is read again. One with a lease is renewed before its end, or replaced.
  static_secret_render_interval = "${INTERVAL}"
}

# For Prometheus: /agent/v1/metrics?format=prometheus, and nothing else.
listener "tcp" {
  address     = "0.0.0.0:9102"
  tls_disable = true
  role        = "metrics_only"
}

telemetry {
  disable_hostname = true
}

# Every file can be read by any uid: nobody but the containers of the pod sees it. A field that is missing in Vault is said in
# the log; its file stays as it is, and the others go on.

${TEMPLATES}
