package main

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"sort"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const encryptionConfig = serverDir + "/cred/encryption-config.json"

// What all servers of a cluster share, as files under server/. K3s: pkg/daemons/config, ControlRuntimeBootstrap.
func bootstrapFiles() []string {
	files := []string{"tls/service.key", "cred/encryption-config.json"}
	for name := range authorities {
		files = append(files, "tls/"+name+".crt", "tls/"+name+".key")
	}
	sort.Strings(files)
	return files
}

type bootstrapData map[string][]byte

func readBootstrap() (bootstrapData, error) {
	data := bootstrapData{}
	for _, name := range bootstrapFiles() {
		content, err := os.ReadFile(filepath.Join(serverDir, name))
		if err != nil && !os.IsNotExist(err) {
			return nil, err
		}
		if err == nil {
			data[name] = content
		}
	}
	return data, nil
}

func (b bootstrapData) write() error {
	for _, name := range bootstrapFiles() {
		content, held := b[name]
		if !held {
			continue
		}
		var mode os.FileMode = 0o600
		if strings.HasSuffix(name, ".crt") {
			mode = 0o644
		}
		if err := writeFile(filepath.Join(serverDir, name), content, mode); err != nil {
			return err
		}
	}
	return nil
}

func (s *Supervisor) bootstrap(w http.ResponseWriter, _ *http.Request) {
	data, err := readBootstrap()
	if err != nil {
		sendError(w, http.StatusInternalServerError, "%v", err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(data)
}

// The token is the passphrase of the bootstrap data in the datastore (docs.k3s.io/datastore/backup-restore).
func bootstrapKey(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return "/bootstrap/" + hex.EncodeToString(sum[:])[:12]
}

func cipherOf(secret string, salt []byte) (cipher.AEAD, error) {
	key, err := pbkdf2.Key(sha256.New, secret, salt, 4096, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func encrypt(secret string, content []byte) (string, error) {
	salt := make([]byte, 8)
	_, _ = rand.Read(salt)
	sealer, err := cipherOf(secret, salt)
	if err != nil {
		return "", err
	}
	nonce := make([]byte, sealer.NonceSize())
	_, _ = rand.Read(nonce)
	sealed := sealer.Seal(nonce, nonce, content, nil)
	return hex.EncodeToString(salt) + ":" + base64.StdEncoding.EncodeToString(sealed), nil
}

func decrypt(secret, content string) ([]byte, error) {
	head, body, found := strings.Cut(content, ":")
	salt, err := hex.DecodeString(head)
	sealed, err2 := base64.StdEncoding.DecodeString(body)
	if !found || err != nil || err2 != nil {
		return nil, fmt.Errorf("invalid cipher text, not enough parts")
	}
	sealer, err := cipherOf(secret, salt)
	if err != nil || len(sealed) < sealer.NonceSize() {
		return nil, fmt.Errorf("invalid cipher text")
	}
	return sealer.Open(nil, sealed[:sealer.NonceSize()], sealed[sealer.NonceSize():], nil)
}

// storeBootstrap puts the shared files into the datastore, or, where they are there already, makes sure that the
// token opens them.
func storeBootstrap(ctx context.Context, client *clientv3.Client, secret string) error {
	stored, err := loadBootstrap(ctx, client, secret)
	if err != nil {
		return err
	}
	data, err := readBootstrap()
	if err != nil {
		return err
	}
	if reflect.DeepEqual(stored, data) {
		return nil
	}
	if stored != nil {
		for name := range stored {
			if string(stored[name]) != string(data[name]) && strings.HasPrefix(name, "tls/") {
				return fmt.Errorf("%s newer than datastore and could cause a cluster outage. Remove the file(s) from "+
					"disk and restart to be recreated from datastore", filepath.Join(serverDir, name))
			}
		}
	}
	content, err := json.Marshal(data)
	if err != nil {
		return err
	}
	sealed, err := encrypt(secret, content)
	if err != nil {
		return err
	}
	_, err = client.Put(ctx, bootstrapKey(secret), sealed)
	return err
}

// loadBootstrap is nil where nothing is stored.
func loadBootstrap(ctx context.Context, client *clientv3.Client, secret string) (bootstrapData, error) {
	all, err := client.Get(ctx, "/bootstrap/", clientv3.WithPrefix())
	if err != nil {
		return nil, err
	}
	for _, pair := range all.Kvs {
		if string(pair.Key) != bootstrapKey(secret) {
			continue
		}
		content, err := decrypt(secret, string(pair.Value))
		if err != nil {
			return nil, err
		}
		data := bootstrapData{}
		return data, json.Unmarshal(content, &data)
	}
	if len(all.Kvs) > 0 {
		return nil, fmt.Errorf("bootstrap data already found and encrypted with different token")
	}
	return nil, nil
}

// ensureEncryption makes the key that encrypts Secrets at rest, the same on all servers (docs.k3s.io/security/
// secrets-encryption).
func (c *Config) ensureEncryption() error {
	if !c.is("secrets-encryption") {
		return nil
	}
	if _, err := os.Stat(encryptionConfig); err == nil {
		return nil
	}
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	aescbc := map[string]any{"keys": []any{map[string]string{
		"name": "aescbckey", "secret": base64.StdEncoding.EncodeToString(key),
	}}}
	content, err := json.Marshal(map[string]any{
		"kind": "EncryptionConfiguration", "apiVersion": "apiserver.config.k8s.io/v1",
		"resources": []any{map[string]any{"resources": []string{"secrets"},
			"providers": []any{map[string]any{"aescbc": aescbc}, map[string]any{"identity": map[string]any{}}}}},
	})
	if err != nil {
		return err
	}
	return writeFile(encryptionConfig, content, 0o600)
}

// Critical is what all servers must agree on, and what agents take from their server.
// docs.k3s.io/cli/server, "Critical Configuration Values".
type Critical struct {
	ClusterCIDR, ServiceCIDR, ClusterDNS, ClusterDomain                 string
	FlannelBackend, EgressSelectorMode, EncryptProvider                 string
	DisableCCM, DisableHelmController, DisableNPC, DisableServiceLB     bool
	DisableKubeProxy, EmbeddedRegistry, EncryptSecrets, FlannelIPv6Masq bool
	AgentToken                                                          string
}

func (c *Config) critical(s secrets) Critical {
	disabled := c.disabled()
	return Critical{
		ClusterCIDR: c.clusterCIDR(), ServiceCIDR: c.serviceCIDR(), ClusterDNS: c.clusterDNS(),
		ClusterDomain: c.clusterDomain(), FlannelBackend: c.or("flannel-backend", "vxlan"),
		EgressSelectorMode: c.or("egress-selector-mode", "agent"),
		EncryptProvider:    c.or("secrets-encryption-provider", "aescbc"),
		DisableCCM:         c.is("disable-cloud-controller"), DisableHelmController: c.is("disable-helm-controller"),
		DisableNPC: c.is("disable-network-policy"), DisableServiceLB: disabled["servicelb"],
		DisableKubeProxy: c.is("disable-kube-proxy"), EmbeddedRegistry: c.is("embedded-registry"),
		EncryptSecrets: c.is("secrets-encryption"), FlannelIPv6Masq: c.is("flannel-ipv6-masq"),
		AgentToken: hashCA([]byte(s.agent))[:12],
	}
}

// differences names the values on which two servers do not agree.
func (a Critical) differences(b Critical) []string {
	var names []string
	left, right := reflect.ValueOf(a), reflect.ValueOf(b)
	for i := range left.NumField() {
		if !left.Field(i).Equal(right.Field(i)) {
			names = append(names, left.Type().Field(i).Name)
		}
	}
	return names
}

func (c *Config) disabled() map[string]bool {
	names := map[string]bool{}
	for _, name := range c.list("disable") {
		names[name] = true
	}
	return names
}
