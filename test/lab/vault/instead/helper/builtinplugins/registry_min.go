//go:build minimal

package builtinplugins

import (
	kubernetes "github.com/hashicorp/vault-plugin-auth-kubernetes"
	"github.com/hashicorp/vault/plugins/database/postgresql"
)

// What the lab needs beside the plugins of Vault's own minimal build.
func extendAddonPlugins(own *registry) {
	own.credentialBackends["kubernetes"] = credentialBackend{Factory: kubernetes.Factory}
	own.databasePlugins["postgresql-database-plugin"] = databasePlugin{Factory: postgresql.New}
}
