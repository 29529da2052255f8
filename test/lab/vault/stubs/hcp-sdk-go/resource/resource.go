// Package resource has what Vault takes of it. The real one is part of the client for HashiCorp's own cloud.
package resource

import "errors"

type Resource struct{ ID, Organization, Project string }

func FromString(string) (Resource, error) {
	return Resource{}, errors.New("HCP is not in the lab's build")
}
