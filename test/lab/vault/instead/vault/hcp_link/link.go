// Package hcp_link has what Vault's commands take of it. The real one connects a server to HashiCorp's own cloud.
package hcp_link

import (
	"errors"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/internalshared/configutil"
	"github.com/hashicorp/vault/vault"
)

type HCPLinkVault struct{}

func NewHCPLink(config *configutil.HCPLinkConfig, _ *vault.Core, _ hclog.Logger) (*HCPLinkVault, error) {
	if config == nil {
		return nil, nil
	}
	return nil, errors.New("HCP is not in the lab's build")
}

func (*HCPLinkVault) GetConnectionStatusMessage(status string) string { return status }

func (*HCPLinkVault) GetScadaSessionStatus() string { return "disconnected" }

func (*HCPLinkVault) Shutdown() error { return nil }
