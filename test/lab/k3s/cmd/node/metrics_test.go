package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"k8s.io/component-base/metrics/legacyregistry"
)

// series are the values of a metric by the text of their labels: `name=...,server=...`; of a histogram, its count.
func series(t *testing.T, collector prometheus.Collector) map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(collector)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.Metric {
			name := ""
			for _, label := range metric.Label {
				if name != "" {
					name += ","
				}
				name += label.GetName() + "=" + label.GetValue()
			}
			found[name] = metric.GetGauge().GetValue() + float64(metric.GetHistogram().GetSampleCount())
		}
	}
	return found
}

func certificate(t *testing.T, name string, days int, usage x509.KeyUsage, usages ...x509.ExtKeyUsage) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: name, Organization: []string{"system:masters"}},
		NotAfter: time.Now().Add(time.Duration(days) * 24 * time.Hour), KeyUsage: usage, ExtKeyUsage: usages,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestEveryCertificateOfAChainIsMeasured(t *testing.T) {
	certificateExpiration.Reset()
	file := filepath.Join(t.TempDir(), "chain.crt")
	leaf := certificate(t, "leaf", 10, x509.KeyUsageDigitalSignature, x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth)
	authority := certificate(t, "authority", 100, x509.KeyUsageCertSign)
	if err := os.WriteFile(file, encodeCerts(leaf, authority), 0o600); err != nil {
		t.Fatal(err)
	}
	measure(file)
	measure(filepath.Join(t.TempDir(), "missing.crt"))
	for labels, days := range map[string]float64{
		"subject=CN=leaf,O=system:masters,usages=ServerAuth,ClientAuth": 10,
		"subject=CN=authority,O=system:masters,usages=CertSign":         100,
	} {
		if left := series(t, certificateExpiration)[labels] / 86400; left < days-0.1 || left > days {
			t.Errorf("%s: %v days, expected %v", labels, left, days)
		}
	}
	if found := series(t, certificateExpiration); len(found) != 2 {
		t.Errorf("found %v", found)
	}
}

func TestACertificateWithoutAUseIsUnknown(t *testing.T) {
	cert, err := x509.ParseCertificate(certificate(t, "x", 1, x509.KeyUsageDigitalSignature))
	if err != nil || usages(cert) != "Unknown" {
		t.Errorf("%q, %v", usages(cert), err)
	}
}

func TestAnAgentHasItsOwnCertificatesAlone(t *testing.T) {
	agent, server := certificateFiles(false), certificateFiles(true)
	if len(agent) != 4 || !slices.Contains(agent, agentDir+"/client-kubelet.crt") {
		t.Errorf("an agent has %v", agent)
	}
	for _, file := range []string{agentDir + "/client-kubelet.crt", tlsDir + "/client-admin.crt", tlsDir + "/etcd/peer-ca.crt"} {
		if !slices.Contains(server, file) {
			t.Errorf("a server lacks %s", file)
		}
	}
}

func TestTheHealthOfServersIsTold(t *testing.T) {
	balancerHealth.Reset()
	balancerDials.Reset()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	well, dead := listener.Addr().String(), closed.Addr().String()
	b := &Balancer{
		first: "10.0.0.10:6443", servers: []string{well, dead}, failed: map[string]time.Time{}, open: map[string]map[net.Conn]bool{},
	}
	b.check()
	b.report()
	health := func(server string) float64 {
		return series(t, balancerHealth)["name=k3s-agent-load-balancer,server="+server]
	}
	for server, wanted := range map[string]float64{well: healthHealthy, dead: healthFailed, b.first: healthStandby} {
		if health(server) != wanted {
			t.Errorf("%s has health %v, expected %v", server, health(server), wanted)
		}
	}
	client, other := net.Pipe()
	done := make(chan struct{})
	go func() {
		b.carry(client)
		close(done)
	}()
	if _, err := listener.Accept(); err != nil { // of check
		t.Fatal(err)
	}
	carried, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); health(well) != healthActive && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		b.report()
	}
	if health(well) != healthActive {
		t.Errorf("with a connection its health is %v", health(well))
	}
	carried.Close()
	other.Close()
	<-done
	if dials := series(t, balancerDials)["name=k3s-agent-load-balancer,status=success"]; dials != 1 {
		t.Errorf("%v dials were counted", dials)
	}
	b.set([]string{well})
	if _, still := series(t, balancerHealth)["name=k3s-agent-load-balancer,server="+dead]; still {
		t.Error("a server that is gone is still told")
	}
}

func TestWhatFailsIsCountedAsAnError(t *testing.T) {
	snapshotSave.Reset()
	observe(snapshotSave, time.Now(), nil)
	observe(snapshotSave, time.Now(), errors.New("no"))
	found := series(t, snapshotSave)
	if found["status=success"] != 1 || found["status=error"] != 1 {
		t.Errorf("found %v", found)
	}
}

func TestTheRegistryOfTheComponentsTakesThem(t *testing.T) {
	registerMetrics()
	families, err := legacyregistry.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(families, func(family *dto.MetricFamily) bool {
		return family.GetName() == "k3s_etcd_snapshot_save_duration_seconds"
	}) {
		t.Error("the snapshots are not among them")
	}
}
