// Package discover has what Vault takes of it. The real one asks a cloud which servers there are.
package discover

import (
	"errors"
	"log"
)

var errLeftOut = errors.New("auto_join is not in the lab's build")

type Provider any

var Providers map[string]Provider

type Config map[string]string

func Parse(string) (Config, error) { return nil, errLeftOut }

func (Config) String() string { return "" }

type Option func()

func WithProviders(map[string]Provider) Option { return nil }

type Discover struct{}

func New(...Option) (*Discover, error) { return &Discover{}, nil }

func (*Discover) Addrs(string, *log.Logger) ([]string, error) { return nil, errLeftOut }
