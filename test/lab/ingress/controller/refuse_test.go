package main

import (
	"strings"
	"testing"

	networking "k8s.io/api/networking/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var minimal = []string{
	"-nginx-configmaps=a/b", "-enable-custom-resources=false", "-enable-telemetry-reporting=false", "-nginx-status=false",
	"-disable-ipv6", "-enable-config-safety", "-enable-prometheus-metrics", "-enable-latency-metrics",
	"-report-ingress-status",
}

func TestOptions(t *testing.T) {
	if _, err := parseOptions(minimal); err != nil {
		t.Fatal(err)
	}
	for name, arguments := range map[string][]string{
		"an unknown one":           append([]string{"-enable-snippets"}, minimal...),
		"a misspelt one":           append([]string{"-ingress-clas=nginx"}, minimal...),
		"one too many":             append([]string{"-health-status=false", "nginx"}, minimal...),
		"a value that it lacks":    append([]string{"-health-status"}, minimal...),
		"a port that is too low":   append([]string{"-ready-status-port=80"}, minimal...),
		"a secret without a space": append([]string{"-default-server-tls-secret=tls"}, minimal...),
		"a default that it lacks":  minimal[:1],
		"no ConfigMap":             minimal[1:],
	} {
		if _, err := parseOptions(arguments); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestSettings(t *testing.T) {
	parsed, wrong, unknown := parseSettings(map[string]string{
		"proxy-protocol": "maybe", "real-ip-recursive": "", "worker-processes": "all", "hsts": "True", "proxy-conect-timeout": "2s",
		"set-real-ip-from": "10.0.0.5,10.0.0.6",
	})
	if len(wrong) != 3 || len(unknown) != 2 || parsed.proxyProtocol || len(parsed.realIPFrom) != 2 {
		t.Errorf("wrong: %q, unknown: %q, %+v", wrong, unknown, parsed)
	}
}

func ingressOf(name, host, service string, annotations map[string]string) *networking.Ingress {
	prefix := networking.PathTypePrefix
	return &networking.Ingress{
		ObjectMeta: meta.ObjectMeta{Namespace: "apps", Name: name, Annotations: annotations},
		Spec: networking.IngressSpec{Rules: []networking.IngressRule{{Host: host, IngressRuleValue: networking.IngressRuleValue{
			HTTP: &networking.HTTPIngressRuleValue{Paths: []networking.HTTPIngressPath{{Path: "/", PathType: &prefix,
				Backend: networking.IngressBackend{Service: &networking.IngressServiceBackend{
					Name: service, Port: networking.ServiceBackendPort{Number: 80},
				}},
			}}},
		}}}},
	}
}

func TestAnnotations(t *testing.T) {
	for annotation, value := range map[string]string{
		"nginx.org/client-max-body-size": "50m", "nginx.org/proxy-read-timeout": "3600s", "nginx.org/proxy-send-timeout": "1h30m",
		"nginx.org/websocket-services": "web", "nginx.org/redirect-to-https": "true", "example.org/anything": "",
	} {
		if err := validate(ingressOf("a", "a.test", "web", map[string]string{annotation: value})); err != nil {
			t.Errorf("%s=%s: %v", annotation, value, err)
		}
	}
	for annotation, value := range map[string]string{
		"nginx.org/client-max-body-size": "50 MB", "nginx.org/proxy-read-timeout": "an hour", "nginx.org/proxy-send-timeout": "",
		"nginx.org/websocket-services": "web, chat", "nginx.org/redirect-to-https": "yes", "nginx.org/server-snippets": "deny all;",
		"nginx.org/proxy-body-size": "1m", "nginx.ingress.kubernetes.io/proxy-body-size": "1m",
	} {
		err := validate(ingressOf("a", "a.test", "web", map[string]string{annotation: value}))
		if err == nil || !strings.Contains(err.Error(), annotation) {
			t.Errorf("%s=%s: %v", annotation, value, err)
		}
	}
}

func TestSpec(t *testing.T) {
	for name, spoil := range map[string]func(*networking.Ingress){
		"no rules":           func(i *networking.Ingress) { i.Spec.Rules = nil },
		"no host":            func(i *networking.Ingress) { i.Spec.Rules[0].Host = "" },
		"a host twice":       func(i *networking.Ingress) { i.Spec.Rules = append(i.Spec.Rules, i.Spec.Rules[0]) },
		"no path":            func(i *networking.Ingress) { i.Spec.Rules[0].HTTP.Paths[0].Path = "" },
		"a path that climbs": func(i *networking.Ingress) { i.Spec.Rules[0].HTTP.Paths[0].Path = "/a/../b" },
		"a path with code":   func(i *networking.Ingress) { i.Spec.Rules[0].HTTP.Paths[0].Path = "/;return" },
		"no service":         func(i *networking.Ingress) { i.Spec.Rules[0].HTTP.Paths[0].Backend.Service = nil },
	} {
		ingress := ingressOf("a", "a.test", "web", nil)
		spoil(ingress)
		if validate(ingress) == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}
