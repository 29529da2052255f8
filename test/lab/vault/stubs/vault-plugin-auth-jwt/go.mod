module github.com/hashicorp/vault-plugin-auth-jwt

go 1.26.4

require (
	github.com/hashicorp/vault/api v1.22.0
	github.com/hashicorp/vault/sdk v0.20.0
)
