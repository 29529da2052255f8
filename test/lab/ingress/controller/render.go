package main

import (
	"bytes"
	"embed"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/template"

	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	networking "k8s.io/api/networking/v1"
)

//go:embed templates
var embedded embed.FS

var templates = template.Must(template.ParseFS(embedded, "templates/*.tmpl"))

// nothing is the address of a Service that has no pod ready. Nobody listens there: nginx answers 502.
const nothing = "unix:/var/lib/nginx/nothing.sock"

// world is what a configuration is made from, as the API server last told it.
type world struct {
	settings
	defaultCertificate string
	ingresses          []*networking.Ingress
	service            func(key string) *core.Service
	slices             func(key string) []*discovery.EndpointSlice
	// certificate gives the path of a TLS secret's file, or why there is none.
	certificate func(key string) (string, error)
}

// site is one Ingress that is served; its hosts are those that no older Ingress has.
type site struct {
	ingress *networking.Ingress
	hosts   []string
	// warnings belong into the Ingress's event, notes into the log.
	warnings, notes []string
	// peers are the pods whose answers are timed.
	peers []peer
}

func keyOf(object interface {
	GetNamespace() string
	GetName() string
}) string {
	return object.GetNamespace() + "/" + object.GetName()
}

// sites gives each host to the oldest Ingress that asks for it.
func sites(ingresses []*networking.Ingress) []*site {
	ordered := slices.Clone(ingresses)
	slices.SortFunc(ordered, func(a, b *networking.Ingress) int {
		if order := a.CreationTimestamp.Compare(b.CreationTimestamp.Time); order != 0 {
			return order
		}
		return strings.Compare(string(b.UID), string(a.UID))
	})
	taken := map[string]bool{}
	var found []*site
	for _, ingress := range ordered {
		one := &site{ingress: ingress}
		for _, rule := range ingress.Spec.Rules {
			if taken[rule.Host] {
				one.warnings = append(one.warnings, fmt.Sprintf("host %s is taken by another resource", rule.Host))
				continue
			}
			taken[rule.Host] = true
			one.hosts = append(one.hosts, rule.Host)
		}
		found = append(found, one)
	}
	slices.SortFunc(found, func(a, b *site) int { return strings.Compare(keyOf(a.ingress), keyOf(b.ingress)) })
	return found
}

func onOff(value bool) string {
	if value {
		return "on"
	}
	return "off"
}

func (w world) fill(name string, further map[string]any) []byte {
	values := map[string]any{
		"errorLogLevel": w.errorLogLevel, "workerProcesses": w.workerProcesses, "workerConnections": w.workerConnections,
		"workerShutdownTimeout": w.workerShutdownTimeout, "snippets": w.snippets, "logFormat": w.logFormat,
		"keepaliveTimeout": w.keepaliveTimeout, "realIPFrom": w.realIPFrom, "realIPHeader": w.realIPHeader,
		"realIPRecursive": w.realIPRecursive, "serverTokens": onOff(w.serverTokens), "certificate": w.defaultCertificate,
		"listen": "",
	}
	if w.proxyProtocol {
		values["listen"] = " proxy_protocol"
	}
	for key, value := range further {
		values[key] = value
	}
	var text bytes.Buffer
	if err := templates.ExecuteTemplate(&text, name, values); err != nil {
		fatal("%v", err)
	}
	return text.Bytes()
}

func (w world) mainConfig() []byte    { return w.fill("nginx.conf.tmpl", nil) }
func (w world) defaultConfig() []byte { return w.fill("default.conf.tmpl", nil) }

type upstream struct {
	Name    string
	Servers []string
}

type location struct {
	Path, Upstream string
	Websocket      bool
}

type host struct {
	Name        string
	TLS         bool
	Certificate string
	Locations   []location
}

// ingressConfig also adds to the site's warnings what is wrong with its certificates.
func (w world) ingressConfig(one *site) []byte {
	ingress := one.ingress
	said := func(name, otherwise string) string {
		if value, there := ingress.Annotations["nginx.org/"+name]; there {
			return value
		}
		return otherwise
	}
	truth := func(name string, otherwise bool) bool {
		value, _ := strconv.ParseBool(said(name, strconv.FormatBool(otherwise)))
		return value
	}
	websockets := strings.Split(said("websocket-services", ""), ",")

	var upstreams []upstream
	var hosts []host
	for _, rule := range ingress.Spec.Rules {
		if !slices.Contains(one.hosts, rule.Host) {
			continue
		}
		served := host{Name: rule.Host}
		served.TLS, served.Certificate = w.certificateOf(one, rule.Host)
		if rule.HTTP == nil {
			rule.HTTP = &networking.HTTPIngressRuleValue{}
		}
		for _, path := range rule.HTTP.Paths {
			backend := path.Backend.Service
			name := strings.Join([]string{ingress.Namespace, ingress.Name, rule.Host, backend.Name, portText(backend.Port)}, "-")
			if !slices.ContainsFunc(upstreams, func(known upstream) bool { return known.Name == name }) {
				servers := w.servers(one, backend)
				upstreams = append(upstreams, upstream{name, servers})
				for _, server := range servers {
					if server != nothing {
						pod := podAt(server, w.slices(ingress.Namespace+"/"+backend.Name))
						one.peers = append(one.peers, peer{name, server, backend.Name, ingress.Name, ingress.Namespace, pod})
					}
				}
			}
			at := path.Path
			if at == "" {
				at = "/"
			}
			if path.PathType != nil && *path.PathType == networking.PathTypeExact {
				at = "= " + at
			}
			served.Locations = append(served.Locations, location{at, name, slices.Contains(websockets, backend.Name)})
		}
		hosts = append(hosts, served)
	}
	return w.fill("ingress.conf.tmpl", map[string]any{
		"key": keyOf(ingress), "upstreams": upstreams, "hosts": hosts,
		"connectTimeout":  said("proxy-connect-timeout", w.connectTimeout),
		"readTimeout":     said("proxy-read-timeout", w.readTimeout),
		"sendTimeout":     said("proxy-send-timeout", w.sendTimeout),
		"maxBodySize":     said("client-max-body-size", w.maxBodySize),
		"buffering":       onOff(truth("proxy-buffering", true)),
		"redirectToHTTPS": truth("redirect-to-https", w.redirectToHTTPS),
		"sslRedirect":     truth("ssl-redirect", true),
	})
}

func (w world) certificateOf(one *site, host string) (tls bool, path string) {
	for _, entry := range one.ingress.Spec.TLS {
		if !slices.Contains(entry.Hosts, host) {
			continue
		}
		if entry.SecretName == "" {
			one.warnings = append(one.warnings, fmt.Sprintf("TLS termination for host '%s' requires specifying a TLS secret", host))
			return true, ""
		}
		path, err := w.certificate(one.ingress.Namespace + "/" + entry.SecretName)
		if err != nil {
			one.warnings = append(one.warnings, fmt.Sprintf("TLS secret %s is invalid: %v", entry.SecretName, err))
		}
		return true, path
	}
	return false, ""
}

func portText(port networking.ServiceBackendPort) string {
	if port.Name != "" {
		return port.Name
	}
	return strconv.Itoa(int(port.Number))
}

// servers are the addresses of the pods that are ready.
func (w world) servers(one *site, backend *networking.IngressServiceBackend) []string {
	var found []string
	key := one.ingress.Namespace + "/" + backend.Name
	if service := w.service(key); service != nil {
		for _, port := range service.Spec.Ports {
			named := backend.Port.Name != "" && port.Name == backend.Port.Name
			if named || (backend.Port.Name == "" && port.Port == backend.Port.Number) {
				found = readyAddresses(port.Name, w.slices(key))
			}
		}
	}
	if len(found) == 0 {
		one.notes = append(one.notes, fmt.Sprintf("Error retrieving endpoints for the service %s: no endpointslices for port %s in service %s",
			backend.Name, portText(backend.Port), backend.Name))
		return []string{nothing}
	}
	return found
}

func readyAddresses(port string, held []*discovery.EndpointSlice) []string {
	var found []string
	for _, slice := range held {
		for _, open := range slice.Ports {
			if open.Port == nil || (open.Name == nil && port != "") || (open.Name != nil && *open.Name != port) {
				continue
			}
			for _, endpoint := range slice.Endpoints {
				if endpoint.Conditions.Ready == nil || !*endpoint.Conditions.Ready {
					continue
				}
				for _, address := range endpoint.Addresses {
					if strings.Contains(address, ":") {
						address = "[" + address + "]"
					}
					found = append(found, fmt.Sprintf("%s:%d", address, *open.Port))
				}
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}
