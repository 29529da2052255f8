package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// tokenCommand: docs.k3s.io/cli/token. Bootstrap tokens can be made and seen; agents of the double join with the
// cluster's own tokens only.
func tokenCommand(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("usage: k3s token create|list|generate")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	switch args[0] {
	case "generate":
		fmt.Println(randomHex(3) + "." + randomHex(8))
		return nil
	case "create":
		client, err := adminClient()
		if err != nil {
			return err
		}
		id, secret := randomHex(3), randomHex(8)
		expires := time.Now().Add(24 * time.Hour).UTC().Format(time.RFC3339)
		_, err = client.CoreV1().Secrets(metav1.NamespaceSystem).Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: "bootstrap-token-" + id}, Type: "bootstrap.kubernetes.io/token",
			StringData: map[string]string{
				"token-id": id, "token-secret": secret, "expiration": expires, "usage-bootstrap-authentication": "true",
				"usage-bootstrap-signing": "true", "auth-extra-groups": "system:bootstrappers:k3s:default-node-token",
			},
		}, metav1.CreateOptions{})
		if err != nil {
			return err
		}
		ca, err := os.ReadFile(tlsFile("server-ca.crt"))
		fmt.Println(tokenPrefix + hashCA(ca) + "::" + id + "." + secret)
		return err
	case "list":
		client, err := adminClient()
		if err != nil {
			return err
		}
		listed, err := client.CoreV1().Secrets(metav1.NamespaceSystem).List(ctx,
			metav1.ListOptions{FieldSelector: "type=bootstrap.kubernetes.io/token"})
		if err != nil {
			return err
		}
		table := tabwriter.NewWriter(os.Stdout, 10, 4, 3, ' ', 0)
		fmt.Fprintln(table, "TOKEN\tTTL\tEXPIRES\tUSAGES\tDESCRIPTION\tEXTRA GROUPS")
		for _, secret := range listed.Items {
			fmt.Fprintf(table, "%s\t\t%s\t\t\t%s\n", secret.Data["token-id"], secret.Data["expiration"], secret.Data["auth-extra-groups"])
		}
		return table.Flush()
	}
	return fmt.Errorf("token %s is not part of the lab's k3s", args[0])
}

// certificateCommand: docs.k3s.io/cli/certificate, check.
func certificateCommand(args []string) error {
	if len(args) == 0 || args[0] != "check" {
		return fmt.Errorf("only k3s certificate check is part of the lab's k3s")
	}
	table := strings.Contains(strings.Join(args[1:], " "), "table")
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', 0)
	if table {
		fmt.Fprintln(out, "FILENAME\tSUBJECT\tUSAGES\tEXPIRES\tRESIDUAL TIME\tSTATUS")
	}
	now := time.Now()
	for _, root := range []string{tlsDir, agentDir} {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".crt" || strings.Contains(path, "/containerd/") {
				return nil
			}
			cert, err := readCert(path)
			if err != nil {
				return nil
			}
			status := "OK"
			if now.After(cert.NotAfter) {
				status = "EXPIRED"
			} else if cert.NotAfter.Sub(now) < renewWithin {
				status = "WARNING"
			}
			if table {
				days := int(cert.NotAfter.Sub(now).Hours() / 24)
				fmt.Fprintf(out, "%s\t%s\t\t%s\t%dd\t%s\n", filepath.Base(path), cert.Subject, cert.NotAfter.UTC().Format(time.RFC3339), days, status)
			} else if status == "OK" {
				info("%s: certificate %s is ok, expires at %s", path, cert.Subject, cert.NotAfter.UTC().Format(time.RFC3339))
			} else {
				warn("%s: certificate %s %s, expires at %s", path, cert.Subject, strings.ToLower(status), cert.NotAfter.UTC().Format(time.RFC3339))
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return out.Flush()
}

// secretsEncryptCommand: docs.k3s.io/cli/secrets-encrypt, status.
func secretsEncryptCommand(args []string) error {
	if len(args) == 0 || args[0] != "status" {
		return fmt.Errorf("only k3s secrets-encrypt status is part of the lab's k3s")
	}
	content, err := os.ReadFile(encryptionConfig)
	if os.IsNotExist(err) {
		fmt.Println("Encryption Status: Disabled, no configuration file found")
		return nil
	} else if err != nil {
		return err
	}
	var held struct {
		Resources []struct {
			Providers []struct {
				AESCBC *struct {
					Keys []struct{ Name string }
				}
			}
		}
	}
	if err := json.Unmarshal(content, &held); err != nil {
		return err
	}
	fmt.Println("Encryption Status: Enabled")
	fmt.Println("Current Rotation Stage: start")
	fmt.Println("Server Encryption Hashes: All hashes match")
	fmt.Println()
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "Active\tKey Type\tName")
	fmt.Fprintln(table, "------\t--------\t----")
	for _, resource := range held.Resources {
		for _, provider := range resource.Providers {
			if provider.AESCBC != nil {
				for i, key := range provider.AESCBC.Keys {
					active := " "
					if i == 0 {
						active = " *"
					}
					fmt.Fprintf(table, "%s\tAES-CBC\t%s\n", active, key.Name)
				}
			}
		}
	}
	return table.Flush()
}
