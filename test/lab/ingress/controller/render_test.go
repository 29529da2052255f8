package main

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	networking "k8s.io/api/networking/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func pointer[T any](value T) *T { return &value }

func oneService() world {
	known := world{settings: defaultSettings()}
	known.service = func(key string) *core.Service {
		if key != "apps/web" {
			return nil
		}
		return &core.Service{Spec: core.ServiceSpec{Ports: []core.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromInt32(8080)}}}}
	}
	known.slices = func(string) []*discovery.EndpointSlice {
		return []*discovery.EndpointSlice{{
			Ports: []discovery.EndpointPort{{Name: pointer("http"), Port: pointer(int32(8080))}, {Name: pointer("admin"), Port: pointer(int32(9))}},
			Endpoints: []discovery.Endpoint{
				{Addresses: []string{"10.42.1.2"}, Conditions: discovery.EndpointConditions{Ready: pointer(true)}},
				{Addresses: []string{"10.42.0.7"}, Conditions: discovery.EndpointConditions{Ready: pointer(true)}},
				{Addresses: []string{"10.42.3.3"}, Conditions: discovery.EndpointConditions{Ready: pointer(false)}},
			},
		}}
	}
	known.certificate = func(key string) (string, error) {
		if key == "apps/tls" {
			return "/etc/nginx/secrets/apps-tls", nil
		}
		return "", errors.New("secret doesn't exist")
	}
	return known
}

func expect(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if without, absent := strings.CutPrefix(part, "!"); absent == strings.Contains(text, without) {
			t.Errorf("%q in\n%s", part, text)
		}
	}
}

func TestIngressConfig(t *testing.T) {
	known := oneService()
	one := &site{ingress: ingressOf("shop", "shop.test", "web", nil), hosts: []string{"shop.test"}}
	expect(t, string(known.ingressConfig(one)),
		"server 10.42.0.7:8080 max_fails=1 fail_timeout=10s max_conns=0;\n    server 10.42.1.2:8080", "!10.42.3.3", "!:9 ",
		"listen 80;", "!443", "server_name shop.test;", "location / {", "client_max_body_size 1m;", "proxy_read_timeout 60s;",
		"X-Forwarded-Proto $scheme;", "!Upgrade")

	known.proxyProtocol, known.realIPFrom, known.realIPHeader = true, []string{"10.0.0.5", "10.0.0.6"}, "proxy_protocol"
	one.ingress.Annotations = map[string]string{
		"nginx.org/websocket-services": "web", "nginx.org/client-max-body-size": "50m", "nginx.org/proxy-read-timeout": "3600s",
		"nginx.org/redirect-to-https": "true",
	}
	one.ingress.Spec.TLS = []networking.IngressTLS{{Hosts: []string{"shop.test"}, SecretName: "tls"}}
	expect(t, string(known.ingressConfig(one)),
		"listen 80 proxy_protocol;", "listen 443 ssl proxy_protocol;", "ssl_certificate /etc/nginx/secrets/apps-tls;",
		"set_real_ip_from 10.0.0.6;", "real_ip_header proxy_protocol;", "Upgrade $http_upgrade;", "client_max_body_size 50m;",
		"proxy_read_timeout 3600s;", "X-Forwarded-Proto https;")

	one.ingress.Spec.TLS[0].SecretName = "gone"
	expect(t, string(known.ingressConfig(one)), "ssl_reject_handshake on;", "!ssl_certificate")
	if len(one.warnings) != 1 {
		t.Errorf("warnings: %q", one.warnings)
	}
}

func TestNobodyThere(t *testing.T) {
	for _, service := range []string{"web", "gone"} {
		known := oneService()
		known.slices = func(string) []*discovery.EndpointSlice { return nil }
		one := &site{ingress: ingressOf("shop", "shop.test", service, nil), hosts: []string{"shop.test"}}
		expect(t, string(known.ingressConfig(one)), "server "+nothing)
	}
}

func TestDefaultServer(t *testing.T) {
	known := world{settings: defaultSettings()}
	expect(t, string(known.defaultConfig()), "listen 80 default_server;", "listen 443 ssl default_server;", "ssl_reject_handshake on;", "return 404;")
	known.defaultCertificate, known.proxyProtocol = defaultCertificate, true
	expect(t, string(known.defaultConfig()), "listen 443 ssl default_server proxy_protocol;", "ssl_certificate "+defaultCertificate, "!ssl_reject")
}

func TestOldestHasTheHost(t *testing.T) {
	at := func(ingress *networking.Ingress, second int) *networking.Ingress {
		ingress.CreationTimestamp = meta.NewTime(time.Unix(int64(second), 0))
		return ingress
	}
	found := sites([]*networking.Ingress{
		at(ingressOf("b", "shop.test", "web", nil), 1), at(ingressOf("a", "shop.test", "web", nil), 2), at(ingressOf("c", "c.test", "web", nil), 3),
	})
	hosts := func(i int) []string { return found[i].hosts }
	if len(hosts(0)) != 0 || !slices.Equal(hosts(1), []string{"shop.test"}) || !slices.Equal(hosts(2), []string{"c.test"}) || len(found[0].warnings) != 1 {
		t.Errorf("%+v %+v %+v", found[0], found[1], found[2])
	}
}
