package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/component-base/metrics/legacyregistry"
)

// K3s's own metrics, with its names, labels and buckets: pkg/certmonitor, pkg/agent/loadbalancer/metrics.go,
// pkg/etcd/snapshotmetrics. They are in the registry that the components of the process share, so every /metrics of a
// node has them.
var (
	certificateExpiration = gauge("certificate_expiration_seconds",
		"Remaining lifetime in seconds of the certificate, labeled by certificate subject and usages.", "subject", "usages")

	balancerHealth = gauge("loadbalancer_server_health",
		"Current health state of loadbalancer backend servers, labeled by loadbalancer name and server address.", "name", "server")
	balancerConnections = gauge("loadbalancer_server_connections",
		"Count of current connections to loadbalancer server, labeled by loadbalancer name and server address.", "name", "server")
	balancerDials = histogram("loadbalancer_dial_duration_seconds",
		"Time in seconds taken to dial a connection to a backend server, labeled by loadbalancer name and success/failure status.",
		0.001, "name", "status")

	snapshotSave           = snapshotHistogram("save", "complete the etcd snapshot process")
	snapshotSaveLocal      = snapshotHistogram("save_local", "save a local snapshot file")
	snapshotReconcile      = snapshotHistogram("reconcile", "sync the list of etcd snapshots")
	snapshotReconcileLocal = snapshotHistogram("reconcile_local", "list local snapshot files")
)

func gauge(name, help string, labels ...string) *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "k3s_" + name, Help: help}, labels)
}

func histogram(name, help string, first float64, labels ...string) *prometheus.HistogramVec {
	options := prometheus.HistogramOpts{Name: "k3s_" + name, Help: help, Buckets: prometheus.ExponentialBuckets(first, 2, 15)}
	return prometheus.NewHistogramVec(options, labels)
}

func snapshotHistogram(name, what string) *prometheus.HistogramVec {
	return histogram("etcd_snapshot_"+name+"_duration_seconds",
		"Total time in seconds taken to "+what+", labeled by success/failure status.", 0.008, "status")
}

// registerMetrics is called once, by the process that is K3s and not by its children.
func registerMetrics() {
	legacyregistry.Registerer().MustRegister(
		certificateExpiration, balancerHealth, balancerConnections, balancerDials, snapshotSave, snapshotSaveLocal,
		snapshotReconcile, snapshotReconcileLocal,
	)
}

// observe notes how long something took, and whether it worked: K3s, pkg/metrics.
func observe(seconds *prometheus.HistogramVec, since time.Time, err error, labels ...string) {
	status := "success"
	if err != nil {
		status = "error"
	}
	seconds.WithLabelValues(append(labels, status)...).Observe(time.Since(since).Seconds())
}

// K3s looks every half an hour. Tests do not wait that long.
const certificatesEvery = 15 * time.Second

// watchCertificates says how long each certificate of the node lasts, on a server its authorities' too.
func watchCertificates(ctx context.Context, server bool) {
	for ; ctx.Err() == nil; time.Sleep(certificatesEvery) {
		for _, file := range certificateFiles(server) {
			measure(file)
		}
	}
}

// certificateFiles are those of K3s: pkg/util/services. The supervisor's own is none of them.
func certificateFiles(server bool) []string {
	var files []string
	for _, name := range []string{"client-k3s-controller", "client-kubelet", "serving-kubelet", "client-kube-proxy"} {
		files = append(files, filepath.Join(agentDir, name+".crt"))
	}
	if !server {
		return files
	}
	for _, name := range []string{
		"client-kube-apiserver", "serving-kube-apiserver", "client-admin", "client-auth-proxy", "client-k3s-cloud-controller",
		"client-controller", "etcd/client", "etcd/server-client", "etcd/peer-server-client", "client-scheduler",
		"client-supervisor", "client-kube-proxy", "client-k3s-controller",
	} {
		files = append(files, tlsFile(name+".crt"))
	}
	for name := range authorities {
		files = append(files, tlsFile(name+".crt"))
	}
	return files
}

// measure takes every certificate of a file, which may be a chain. What cannot be read is left out, as K3s does.
func measure(file string) {
	content, _ := os.ReadFile(file)
	for block, rest := pem.Decode(content); block != nil; block, rest = pem.Decode(rest) {
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil {
			certificateExpiration.WithLabelValues(cert.Subject.String(), usages(cert)).Set(time.Until(cert.NotAfter).Seconds())
		}
	}
}

func usages(cert *x509.Certificate) string {
	var all []string
	if cert.KeyUsage&x509.KeyUsageCertSign != 0 {
		all = append(all, "CertSign")
	}
	for _, usage := range cert.ExtKeyUsage {
		switch usage {
		case x509.ExtKeyUsageServerAuth:
			all = append(all, "ServerAuth")
		case x509.ExtKeyUsageClientAuth:
			all = append(all, "ClientAuth")
		}
	}
	if len(all) == 0 {
		return "Unknown"
	}
	return strings.Join(all, ",")
}
