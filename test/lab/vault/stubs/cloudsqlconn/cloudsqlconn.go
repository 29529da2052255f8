// Package cloudsqlconn has what Vault takes of it. The real one connects to databases of Google's cloud.
package cloudsqlconn

import "errors"

type Option any

type DialOption any

func WithIAMAuthN() Option { return nil }

func WithCredentialsJSON([]byte) Option { return nil }

func WithDefaultDialOptions(...DialOption) Option { return nil }

func WithPrivateIP() DialOption { return nil }

func WithPSC() DialOption { return nil }

// RegisterDriver is that of both packages below.
func RegisterDriver(string, ...Option) (func() error, error) {
	return nil, errors.New("databases of Google's cloud are not in the lab's build")
}
