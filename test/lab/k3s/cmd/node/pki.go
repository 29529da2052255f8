package main

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

const (
	year        = 365 * 24 * time.Hour
	renewWithin = 120 * 24 * time.Hour
)

// The authorities of a cluster, by file name under server/tls; every server has the same ones.
var authorities = map[string]string{
	"client-ca": "k3s-client-ca", "server-ca": "k3s-server-ca", "request-header-ca": "k3s-request-header-ca",
	"etcd/server-ca": "etcd-server-ca", "etcd/peer-ca": "etcd-peer-ca",
}

type pair struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func tlsFile(name string) string { return filepath.Join(tlsDir, name) }

func writeFile(file string, content []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	beside := file + ".new"
	if err := os.WriteFile(beside, content, mode); err != nil {
		return err
	}
	return os.Rename(beside, file)
}

func serial() *big.Int {
	number, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 62))
	if err != nil {
		fatal("%v", err)
	}
	return number
}

func encodeKey(key crypto.Signer) ([]byte, error) {
	switch key := key.(type) {
	case *ecdsa.PrivateKey:
		der, err := x509.MarshalECPrivateKey(key)
		return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), err
	case *rsa.PrivateKey:
		der := x509.MarshalPKCS1PrivateKey(key)
		return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: der}), nil
	}
	return nil, fmt.Errorf("unknown kind of key")
}

func encodeCerts(ders ...[]byte) []byte {
	var all bytes.Buffer
	for _, der := range ders {
		_ = pem.Encode(&all, &pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	return all.Bytes()
}

func readCert(file string) (*x509.Certificate, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(content)
	if block == nil {
		return nil, fmt.Errorf("%s holds no certificate", file)
	}
	return x509.ParseCertificate(block.Bytes)
}

func readKey(file string) (crypto.Signer, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(content)
	if block == nil {
		return nil, fmt.Errorf("%s holds no key", file)
	}
	if block.Type == "RSA PRIVATE KEY" {
		return x509.ParsePKCS1PrivateKey(block.Bytes)
	}
	return x509.ParseECPrivateKey(block.Bytes)
}

func readPair(name string) (pair, error) {
	cert, err := readCert(tlsFile(name + ".crt"))
	if err != nil {
		return pair{}, err
	}
	key, err := readKey(tlsFile(name + ".key"))
	return pair{cert, key}, err
}

// ensureKey keeps the key that is there.
func ensureKey(file string) (crypto.Signer, error) {
	if key, err := readKey(file); err == nil {
		return key, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	content, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	return key, writeFile(file, content, 0o600)
}

// ensureAuthorities makes what is missing: ten years, as K3s's own.
func ensureAuthorities() error {
	for name, commonName := range authorities {
		if _, err := readPair(name); err == nil {
			continue
		}
		key, err := ensureKey(tlsFile(name + ".key"))
		if err != nil {
			return err
		}
		now := time.Now()
		template := &x509.Certificate{
			SerialNumber: serial(), Subject: pkix.Name{CommonName: fmt.Sprintf("%s@%d", commonName, now.Unix())},
			NotBefore: now.Add(-time.Minute), NotAfter: now.Add(10 * year), IsCA: true, BasicConstraintsValid: true,
			KeyUsage: x509.KeyUsageKeyEncipherment | x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			return err
		}
		if err := writeFile(tlsFile(name+".crt"), encodeCerts(der), 0o644); err != nil {
			return err
		}
	}
	if _, err := readKey(tlsFile("service.key")); err != nil {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			return err
		}
		content, err := encodeKey(key)
		if err != nil {
			return err
		}
		if err := writeFile(tlsFile("service.key"), content, 0o600); err != nil {
			return err
		}
	}
	content, err := os.ReadFile(tlsFile("service.key"))
	if err != nil {
		return err
	}
	return writeFile(tlsFile("service.current.key"), content, 0o600)
}

type request struct {
	commonName    string
	organizations []string
	names         []string
	addresses     []string
	server        bool
	client        bool
}

func (r request) template() *x509.Certificate {
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial(), NotBefore: now.Add(-time.Minute), NotAfter: now.Add(year),
		Subject:     pkix.Name{CommonName: r.commonName, Organization: r.organizations},
		KeyUsage:    x509.KeyUsageKeyEncipherment | x509.KeyUsageDigitalSignature,
		DNSNames:    r.names,
		ExtKeyUsage: []x509.ExtKeyUsage{},
	}
	for _, address := range r.addresses {
		if ip := net.ParseIP(address); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		}
	}
	if r.server {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	if r.client {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	}
	return template
}

// sign answers with the certificate and the authority's, PEM.
func (r request) sign(authority string, public crypto.PublicKey) ([]byte, error) {
	ca, err := readPair(authority)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, r.template(), ca.cert, public, ca.key)
	if err != nil {
		return nil, err
	}
	return encodeCerts(der, ca.cert.Raw), nil
}

// ensure writes name.crt and name.key under server/tls where they are missing, soon to expire, signed by another
// authority or without one of the names.
func (r request) ensure(authority, name string) error {
	key, err := ensureKey(tlsFile(name + ".key"))
	if err != nil {
		return err
	}
	ca, err := readPair(authority)
	if err != nil {
		return err
	}
	if cert, err := readCert(tlsFile(name + ".crt")); err == nil && r.fits(cert, ca.cert) {
		return nil
	}
	content, err := r.sign(authority, key.Public())
	if err != nil {
		return err
	}
	return writeFile(tlsFile(name+".crt"), content, 0o644)
}

func (r request) fits(cert, authority *x509.Certificate) bool {
	if cert.CheckSignatureFrom(authority) != nil || time.Until(cert.NotAfter) < renewWithin {
		return false
	}
	wanted, held := r.template(), map[string]bool{}
	for _, name := range cert.DNSNames {
		held[name] = true
	}
	for _, address := range cert.IPAddresses {
		held[address.String()] = true
	}
	for _, name := range wanted.DNSNames {
		if !held[name] {
			return false
		}
	}
	for _, address := range wanted.IPAddresses {
		if !held[address.String()] {
			return false
		}
	}
	return cert.Subject.CommonName == r.commonName
}

func user(commonName string, organizations ...string) request {
	return request{commonName: commonName, organizations: organizations, client: true}
}

// ensureServerCerts issues what a server's components present, with the names K3s gives them.
func (c *Config) ensureServerCerts() error {
	_, services, err := net.ParseCIDR(c.serviceCIDR())
	if err != nil {
		return err
	}
	apiService := make(net.IP, len(services.IP))
	copy(apiService, services.IP)
	apiService[len(apiService)-1]++
	names := []string{
		"kubernetes.default.svc." + c.clusterDomain(), "kubernetes.default.svc", "kubernetes.default", "kubernetes",
		"localhost", c.NodeName,
	}
	addresses := []string{"127.0.0.1", apiService.String(), c.NodeIP, c.advertise()}
	for _, name := range c.list("tls-san") {
		if net.ParseIP(name) != nil {
			addresses = append(addresses, name)
		} else {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	slices.Sort(addresses)
	names, addresses = slices.Compact(names), slices.Compact(addresses)
	etcdNames, etcdAddresses := []string{"localhost", c.NodeName}, []string{"127.0.0.1", c.NodeIP}
	for _, issue := range []struct {
		authority, name string
		request         request
	}{
		{"client-ca", "client-admin", user("system:admin", "system:masters")},
		{"client-ca", "client-supervisor", user("system:k3s-supervisor", "system:masters")},
		{"client-ca", "client-controller", user("system:kube-controller-manager")},
		{"client-ca", "client-scheduler", user("system:kube-scheduler")},
		{"client-ca", "client-kube-apiserver", user("system:apiserver", "system:masters")},
		{"client-ca", "client-kube-proxy", user("system:kube-proxy")},
		{"client-ca", "client-k3s-controller", user("system:k3s-controller")},
		{"client-ca", "client-k3s-cloud-controller", user("k3s-cloud-controller-manager")},
		{"request-header-ca", "client-auth-proxy", user("system:auth-proxy")},
		{"server-ca", "serving-kube-apiserver",
			request{commonName: "kube-apiserver", names: names, addresses: addresses, server: true}},
		{"etcd/server-ca", "etcd/client", user("etcd-client")},
		{"etcd/server-ca", "etcd/server-client", request{commonName: "etcd-server",
			names: etcdNames, addresses: etcdAddresses, server: true, client: true}},
		{"etcd/peer-ca", "etcd/peer-server-client", request{commonName: "etcd-peer",
			names: etcdNames, addresses: etcdAddresses, server: true, client: true}},
	} {
		if err := issue.request.ensure(issue.authority, issue.name); err != nil {
			return fmt.Errorf("%s: %w", issue.name, err)
		}
	}
	for file, name := range map[string]string{
		"admin": "client-admin", "supervisor": "client-supervisor", "controller": "client-controller",
		"scheduler": "client-scheduler", "cloud-controller": "client-k3s-cloud-controller",
	} {
		err := writeKubeconfig(filepath.Join(serverDir, "cred", file+".kubeconfig"), "https://127.0.0.1:6444",
			tlsFile("server-ca.crt"), tlsFile(name+".crt"), tlsFile(name+".key"))
		if err != nil {
			return err
		}
	}
	return nil
}

// writeKubeconfig refers to the files of a certificate.
func writeKubeconfig(file, server, ca, cert, key string) error {
	config := clientcmdapi.NewConfig()
	config.Clusters["local"] = &clientcmdapi.Cluster{Server: server, CertificateAuthority: ca}
	config.AuthInfos["user"] = &clientcmdapi.AuthInfo{ClientCertificate: cert, ClientKey: key}
	config.Contexts["Default"] = &clientcmdapi.Context{Cluster: "local", AuthInfo: "user", Namespace: "default"}
	config.CurrentContext = "Default"
	content, err := clientcmd.Write(*config)
	if err != nil {
		return err
	}
	return writeFile(file, content, 0o600)
}

// writeAdminKubeconfig writes k3s.yaml, which holds the certificates themselves.
func (c *Config) writeAdminKubeconfig() error {
	config := clientcmdapi.NewConfig()
	cluster, who := clientcmdapi.NewCluster(), clientcmdapi.NewAuthInfo()
	cluster.Server = "https://127.0.0.1:6443"
	for file, into := range map[string]*[]byte{
		"server-ca.crt": &cluster.CertificateAuthorityData, "client-admin.crt": &who.ClientCertificateData,
		"client-admin.key": &who.ClientKeyData,
	} {
		content, err := os.ReadFile(tlsFile(file))
		if err != nil {
			return err
		}
		*into = content
	}
	config.Clusters["default"], config.AuthInfos["default"] = cluster, who
	config.Contexts["default"] = &clientcmdapi.Context{Cluster: "default", AuthInfo: "default"}
	config.CurrentContext = "default"
	content, err := clientcmd.Write(*config)
	if err != nil {
		return err
	}
	var mode os.FileMode = 0o600
	if given := c.text("write-kubeconfig-mode"); given != "" {
		if _, err := fmt.Sscanf(given, "%o", &mode); err != nil {
			return fmt.Errorf("write-kubeconfig-mode %q is not octal", given)
		}
	}
	if err := writeFile(kubeconfig, content, mode); err != nil {
		return err
	}
	return os.Chmod(kubeconfig, mode)
}
