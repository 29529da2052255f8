package main

import (
	"fmt"
	"strings"

	authorization "k8s.io/api/authorization/v1"
)

// rights are what the real controller does to the API server with the arguments that the stand-in takes. Without one of
// them it would wait for its caches for ever, or fail later: the stand-in says so at once.
func (o options) rights(namespace, pod string) []authorization.ResourceAttributes {
	configMapNamespace, configMap, _ := splitName(o.configMap)
	var needed []authorization.ResourceAttributes
	need := func(where, group, resource, name string, verbs ...string) {
		resource, subresource, _ := strings.Cut(resource, "/")
		for _, verb := range verbs {
			needed = append(needed, authorization.ResourceAttributes{
				Namespace: where, Verb: verb, Group: group, Resource: resource, Subresource: subresource, Name: name,
			})
		}
	}
	need("", "networking.k8s.io", "ingressclasses", o.class, "get")
	need("", "networking.k8s.io", "ingresses", "", "get", "list", "watch")
	need("", "networking.k8s.io", "ingresses/status", "", "update")
	need("", "", "services", "", "list", "watch")
	need("", "", "pods", "", "list", "watch")
	need("", "", "secrets", "", "list", "watch")
	need("", "", "events", "", "create", "patch")
	need("", "discovery.k8s.io", "endpointslices", "", "list", "watch")
	need(configMapNamespace, "", "configmaps", configMap, "get")
	need(configMapNamespace, "", "configmaps", "", "list", "watch")
	need(namespace, "", "pods", pod, "get", "update")
	need(namespace, "coordination.k8s.io", "leases", "", "create")
	need(namespace, "coordination.k8s.io", "leases", o.lock, "get", "update")
	if o.defaultSecret != "" {
		where, name, _ := splitName(o.defaultSecret)
		need(where, "", "secrets", name, "get")
	}
	return needed
}

func (o options) missingRights(api API, namespace, pod string) ([]string, error) {
	var missing []string
	for _, right := range o.rights(namespace, pod) {
		review := &authorization.SelfSubjectAccessReview{Spec: authorization.SelfSubjectAccessReviewSpec{ResourceAttributes: &right}}
		if err := api.create(review, ""); err != nil {
			return nil, err
		}
		if !review.Status.Allowed {
			missing = append(missing, strings.TrimSpace(fmt.Sprintf("%s %s %s", right.Verb, right.Resource, right.Name)))
		}
	}
	return missing, nil
}
