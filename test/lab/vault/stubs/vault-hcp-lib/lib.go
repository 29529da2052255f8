// Package vaulthcplib has what Vault takes of it. The real one logs in to HashiCorp's own cloud.
package vaulthcplib

import (
	"time"

	"github.com/hashicorp/cli"
)

type HCPToken struct {
	AccessToken       string
	AccessTokenExpiry time.Time
	ProxyAddr         string
}

type HCPTokenHelper interface {
	GetHCPToken(string) (*HCPToken, error)
}

type InternalHCPTokenHelper struct{}

// As where nobody has logged in.
func (InternalHCPTokenHelper) GetHCPToken(string) (*HCPToken, error) { return nil, nil }

func InitHCPCommand(cli.Ui) map[string]cli.CommandFactory { return nil }
