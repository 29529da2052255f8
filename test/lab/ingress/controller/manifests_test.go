package main

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	rbac "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"
)

// What the project's manifests ask for, the stand-in has; and they grant what the real controller needs, no more.

var values = map[string]string{
	"IMAGE": "docker.io/nginx/nginx-ingress:5.5.4", "MIN_READY_SECONDS": "1", "DRAIN_SECONDS": "1", "TERMINATION_GRACE_SECONDS": "1",
	"PROXY_PROTOCOL": "True", "LISTEN_OPTIONS": "proxy_protocol", "REAL_IP_HEADER": "proxy_protocol",
	"REAL_IP_FROM": "10.0.0.5,10.0.0.6", "STATUS_ADDRESS": "10.0.0.5", "HEALTH_HOSTS": "", "HEALTH_PATH": "/healthz",
}

func manifest[T any](t *testing.T, file, kind string) (object T) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("../../../../manifests/05_ingress", file))
	if err != nil {
		t.Fatal(err)
	}
	for document := range strings.SplitSeq(string(content), "\n---\n") {
		text := regexp.MustCompile(`\$\{(\w+)\}`).ReplaceAllStringFunc(document, func(found string) string {
			value, known := values[found[2:len(found)-1]]
			if !known {
				t.Fatalf("%s: %s is not known", file, found)
			}
			return value
		})
		if strings.Contains(text, "\nkind: "+kind+"\n") {
			if err := yaml.UnmarshalStrict([]byte(text), &object); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			return object
		}
	}
	t.Fatalf("%s has no %s", file, kind)
	return object
}

func daemonSetOptions(t *testing.T) options {
	t.Helper()
	var arguments []string
	for _, argument := range manifest[apps.DaemonSet](t, "daemonset.yaml", "DaemonSet").Spec.Template.Spec.Containers[0].Args {
		arguments = append(arguments, strings.ReplaceAll(argument, "$(POD_NAMESPACE)", "nginx-ingress"))
	}
	parsed, err := parseOptions(arguments)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func TestManifestsConfigMap(t *testing.T) {
	parsed, wrong, unknown := parseSettings(manifest[core.ConfigMap](t, "config.yaml", "ConfigMap").Data)
	if len(wrong)+len(unknown) > 0 {
		t.Fatalf("wrong: %q, unknown: %q", wrong, unknown)
	}
	text := string(world{settings: parsed}.mainConfig())
	for _, part := range []string{"listen 80 proxy_protocol;", "location = /healthz {", "worker_shutdown_timeout 120s;", "worker_connections 8192;"} {
		if !strings.Contains(text, part) {
			t.Errorf("%q is missing in\n%s", part, text)
		}
	}
	if class := manifest[networking.IngressClass](t, "config.yaml", "IngressClass"); class.Name != daemonSetOptions(t).class {
		t.Errorf("the class is %q", class.Name)
	}
}

func TestManifestsRights(t *testing.T) {
	wanted := map[string]bool{}
	for _, right := range daemonSetOptions(t).rights("nginx-ingress", "a-pod") {
		resource := strings.TrimSuffix(right.Resource+"/"+right.Subresource, "/")
		wanted[strings.Join([]string{right.Namespace, right.Group, resource, right.Verb}, " ")] = true
	}
	granted := map[string]bool{}
	grant := func(namespace string, rules []rbac.PolicyRule) {
		for _, rule := range rules {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					granted[strings.Join([]string{namespace, rule.APIGroups[0], resource, verb}, " ")] = true
				}
			}
		}
	}
	grant("", manifest[rbac.ClusterRole](t, "rbac.yaml", "ClusterRole").Rules)
	grant("nginx-ingress", manifest[rbac.Role](t, "rbac.yaml", "Role").Rules)
	for _, right := range slices.Sorted(maps.Keys(wanted)) {
		if namespace, rest, _ := strings.Cut(right, " "); !granted[right] && (namespace == "" || !granted[" "+rest]) {
			t.Errorf("is not granted: %s", right)
		}
	}
	for _, right := range slices.Sorted(maps.Keys(granted)) {
		// The certificate of the default server is read with the right to read all.
		if !wanted[right] && right != "  secrets get" {
			t.Errorf("is granted in vain: %s", right)
		}
	}
}
