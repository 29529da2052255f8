package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Supervisor serves port 6443: K3s's own paths, and the Kubernetes API for everything else.
// K3s: pkg/server/handlers/router.go.
type Supervisor struct {
	config  *Config
	api     *API
	etcd    *Etcd
	secrets secrets
	clients *x509.CertPool
}

func sendError(w http.ResponseWriter, code int, format string, a ...any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure",
		Message: fmt.Sprintf(format, a...), Reason: metav1.StatusReason(strings.ReplaceAll(http.StatusText(code), " ", "")),
		Code: int32(code),
	})
}

// serve listens until the process ends.
func (s *Supervisor) serve(ctx context.Context) error {
	authority, err := os.ReadFile(tlsFile("client-ca.crt"))
	if err != nil {
		return err
	}
	s.clients = x509.NewCertPool()
	s.clients.AppendCertsFromPEM(authority)
	certificate, err := tls.LoadX509KeyPair(tlsFile("serving-kube-apiserver.crt"), tlsFile("serving-kube-apiserver.key"))
	if err != nil {
		return err
	}
	if ca, err := readCert(tlsFile("server-ca.crt")); err == nil && len(certificate.Certificate) == 1 {
		certificate.Certificate = append(certificate.Certificate, ca.Raw)
	}
	listener, err := net.Listen("tcp", ":6443")
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler: s.routes(), ReadHeaderTimeout: 32 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx },
		TLSConfig: &tls.Config{
			MinVersion: tls.VersionTLS12, ClientAuth: tls.RequestClientCert, ClientCAs: s.clients,
			Certificates: []tls.Certificate{certificate},
		},
		ErrorLog: log.New(io.Discard, "", 0),
	}
	go func() { fatal("supervisor: %v", server.ServeTLS(listener, "", "")) }()
	return nil
}

func (s *Supervisor) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/ping", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprint(w, "pong")
	})
	mux.HandleFunc("/cacerts", file(tlsFile("server-ca.crt")))
	agent := func(path string, h http.HandlerFunc) { mux.HandleFunc("/v1-k3s/"+path, s.only(false, h)) }
	server := func(path string, h http.HandlerFunc) { mux.HandleFunc(path, s.only(true, h)) }
	agent("serving-kubelet.crt", s.kubeletServing)
	agent("client-kubelet.crt", s.kubeletClient)
	agent("client-kube-proxy.crt", s.issue("client-ca", user("system:kube-proxy")))
	agent("client-k3s-controller.crt", s.issue("client-ca", user("system:k3s-controller")))
	agent("client-ca.crt", file(tlsFile("client-ca.crt")))
	agent("server-ca.crt", file(tlsFile("server-ca.crt")))
	agent("config", s.clusterConfig)
	agent("apiservers", s.apiServers)
	agent("readyz", s.readyz)
	server("/v1-k3s/server-bootstrap", s.bootstrap)
	server("/db/info", s.etcd.serveMembers)
	server("/db/snapshot", s.etcd.serveSnapshot)
	mux.Handle("/", s.api)
	return mux
}

func file(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		content, err := os.ReadFile(name)
		if err != nil {
			sendError(w, http.StatusInternalServerError, "%v", err)
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		_, _ = w.Write(content)
	}
}

// only lets in who has the token of a server, or, for what agents need, of an agent or a node's certificate.
func (s *Supervisor) only(server bool, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if name, secret, given := r.BasicAuth(); given && s.secrets.opens(name, secret, server) {
			next(w, r)
		} else if given && s.secrets.opens(name, secret, false) {
			sendError(w, http.StatusForbidden, "forbidden")
		} else if !server && s.nodeOf(r) != "" {
			next(w, r)
		} else {
			sendError(w, http.StatusUnauthorized, "not authorized")
		}
	}
}

// nodeOf is the node whose kubelet's certificate came with the request.
func (s *Supervisor) nodeOf(r *http.Request) string {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return ""
	}
	cert := r.TLS.PeerCertificates[0]
	_, err := cert.Verify(x509.VerifyOptions{Roots: s.clients, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if name, is := strings.CutPrefix(cert.Subject.CommonName, "system:node:"); is && err == nil {
		return name
	}
	return ""
}

func (s *Supervisor) issue(authority string, wanted request) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { s.sign(w, r, authority, wanted) }
}

func (s *Supervisor) sign(w http.ResponseWriter, r *http.Request, authority string, wanted request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<16))
	if err != nil {
		sendError(w, http.StatusBadRequest, "%v", err)
		return
	}
	asked, err := x509.ParseCertificateRequest(body)
	if err != nil || asked.CheckSignature() != nil {
		sendError(w, http.StatusBadRequest, "a certificate request is needed")
		return
	}
	content, err := wanted.sign(authority, asked.PublicKey)
	if err != nil {
		sendError(w, http.StatusInternalServerError, "%v", err)
		return
	}
	_, _ = w.Write(content)
}

func (s *Supervisor) kubeletServing(w http.ResponseWriter, r *http.Request) {
	if node, passed := s.node(w, r); passed {
		addresses := append([]string{"127.0.0.1"}, strings.Split(r.Header.Get("k3s-Node-IP"), ",")...)
		s.sign(w, r, "server-ca", request{
			commonName: node, names: []string{node, "localhost"}, addresses: addresses, server: true,
		})
	}
}

func (s *Supervisor) kubeletClient(w http.ResponseWriter, r *http.Request) {
	if node, passed := s.node(w, r); passed {
		s.sign(w, r, "client-ca", user("system:node:"+node, "system:nodes"))
	}
}

// node checks the node's password: K3s, pkg/nodepassword. A server's own agent is checked later, for it registers
// before there is an API that could hold passwords.
func (s *Supervisor) node(w http.ResponseWriter, r *http.Request) (string, bool) {
	name, password := r.Header.Get("k3s-Node-Name"), r.Header.Get("k3s-Node-Password")
	if name == "" || password == "" {
		sendError(w, http.StatusBadRequest, "node name not set")
		return "", false
	}
	if name == s.config.NodeName && fromLoopback(r) {
		return name, true
	}
	if certified := s.nodeOf(r); certified != "" && certified != name {
		sendError(w, http.StatusBadRequest, "header node name does not match auth node name")
		return "", false
	}
	if !s.api.isReady() {
		sendError(w, http.StatusServiceUnavailable, "runtime core not ready")
		return "", false
	}
	client, err := adminClient()
	if err == nil {
		err = ensureNodePassword(r.Context(), client, name, password)
	}
	if err != nil {
		problem("%v", err)
		sendError(w, http.StatusForbidden, "%v", err)
		return "", false
	}
	return name, true
}

func fromLoopback(r *http.Request) bool {
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	address := net.ParseIP(host)
	return address != nil && address.IsLoopback()
}

func (s *Supervisor) clusterConfig(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(s.config.critical(s.secrets))
}

func (s *Supervisor) readyz(w http.ResponseWriter, r *http.Request) {
	if !s.api.isReady() {
		sendError(w, http.StatusServiceUnavailable, "runtime core not ready")
		return
	}
	fmt.Fprint(w, "ok")
}

func (s *Supervisor) apiServers(w http.ResponseWriter, r *http.Request) {
	addresses := []string{}
	if client, err := adminClient(); err == nil && s.api.isReady() {
		slices, err := client.DiscoveryV1().EndpointSlices("default").List(r.Context(),
			metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=kubernetes"})
		if err == nil {
			addresses = addressesOf(slices.Items)
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(addresses)
}

func addressesOf(slices []discoveryv1.EndpointSlice) []string {
	addresses := []string{}
	for _, slice := range slices {
		port := "6443"
		for _, named := range slice.Ports {
			if named.Port != nil && named.Name != nil && *named.Name == "https" {
				port = fmt.Sprint(*named.Port)
			}
		}
		for _, endpoint := range slice.Endpoints {
			if endpoint.Conditions.Ready == nil || *endpoint.Conditions.Ready {
				for _, address := range endpoint.Addresses {
					addresses = append(addresses, net.JoinHostPort(address, port))
				}
			}
		}
	}
	return addresses
}
