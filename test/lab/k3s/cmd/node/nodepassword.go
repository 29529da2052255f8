package main

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/scrypt"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const passwordFile = "/etc/rancher/node/password"

func nodePassword() (string, error) {
	if content, err := os.ReadFile(passwordFile); err == nil {
		return strings.TrimSpace(string(content)), nil
	}
	password := randomHex(16)
	if err := os.MkdirAll(filepath.Dir(passwordFile), 0o755); err != nil {
		return "", err
	}
	return password, writeFile(passwordFile, []byte(password+"\n"), 0o600)
}

func passwordSecret(node string) string { return node + ".node-password.k3s" }

func hashed(password string, salt []byte) (string, error) {
	key, err := scrypt.Key([]byte(password), salt, 1<<15, 8, 1, 64)
	return fmt.Sprintf("$1:%s:15:8:1:%s", hex.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(key)), err
}

// ensureNodePassword keeps the first password that came with a node's name and refuses any other.
func ensureNodePassword(ctx context.Context, client *kubernetes.Clientset, node, password string) error {
	api := client.CoreV1().Secrets(metav1.NamespaceSystem)
	secret, err := api.Get(ctx, passwordSecret(node), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		salt, _ := hex.DecodeString(randomHex(8))
		hash, err := hashed(password, salt)
		if err != nil {
			return err
		}
		immutable := true
		_, err = api.Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: passwordSecret(node)},
			Immutable:  &immutable, Data: map[string][]byte{"hash": []byte(hash)},
		}, metav1.CreateOptions{})
		return err
	} else if err != nil {
		return err
	}
	parts := strings.Split(string(secret.Data["hash"]), ":")
	if len(parts) > 1 {
		salt, _ := hex.DecodeString(parts[1])
		hash, err := hashed(password, salt)
		if err == nil && subtle.ConstantTimeCompare([]byte(hash), secret.Data["hash"]) == 1 {
			return nil
		}
	}
	return fmt.Errorf("Node password rejected, duplicate hostname or contents of '%s' may not match server node-passwd "+
		"entry, try enabling a unique node name with the --with-node-id flag", passwordFile)
}
