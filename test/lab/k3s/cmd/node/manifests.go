package main

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"time"
)

//go:embed packaged/*.yaml
var packaged embed.FS

const manifestsDir = serverDir + "/manifests"

// deployEvery: K3s, pkg/deploy/controller.go, looks every 15 seconds.
const deployEvery = 15 * time.Second

// stageManifests writes the packaged files anew at each start, except those that are disabled or have a .skip beside
// them: docs.k3s.io/installation/packaged-components.
func (c *Config) stageManifests() error {
	if err := os.MkdirAll(manifestsDir, 0o700); err != nil {
		return err
	}
	files, err := packaged.ReadDir("packaged")
	if err != nil {
		return err
	}
	disabled := c.disabled()
	for _, file := range files {
		name := filepath.Join(manifestsDir, file.Name())
		if _, skip := os.Stat(name + ".skip"); skip == nil || disabled[strings.TrimSuffix(file.Name(), ".yaml")] {
			continue
		}
		content, err := packaged.ReadFile("packaged/" + file.Name())
		if err != nil {
			return err
		}
		if err := writeFile(name, content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// deployManifests applies what lies in server/manifests, again when a file changes, and removes what disable names.
func (c *Config) deployManifests(ctx context.Context) {
	applied := map[string]string{}
	for ; ctx.Err() == nil; time.Sleep(deployEvery) {
		_ = filepath.WalkDir(manifestsDir, func(path string, entry os.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !isManifest(path) {
				return nil
			}
			if _, skip := os.Stat(path + ".skip"); skip == nil {
				return nil
			}
			c.deploy(path, applied)
			return nil
		})
	}
}

func isManifest(path string) bool {
	extension := filepath.Ext(path)
	return extension == ".yaml" || extension == ".yml" || extension == ".json"
}

func (c *Config) deploy(path string, applied map[string]string) {
	content, err := os.ReadFile(path)
	if err != nil {
		return
	}
	base := strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
	folder := filepath.Base(filepath.Dir(path))
	if disabled := c.disabled(); disabled[base] || disabled[folder] {
		if kubectl("delete", "--ignore-not-found", "--wait=false", "-f", path) == nil {
			_ = os.Remove(path)
			info("Deleted the objects of the disabled %s", path)
		}
		return
	}
	sum := sha256.Sum256(content)
	if mark := hex.EncodeToString(sum[:]); applied[path] != mark {
		info("Applying manifest %s", path)
		if kubectl("apply", "--server-side", "--force-conflicts", "--field-manager=deploy@"+c.NodeName, "-f", path) == nil {
			applied[path] = mark
		}
	}
}

func kubectl(args ...string) error {
	child := command("kubectl", append([]string{"--kubeconfig=" + serverDir + "/cred/admin.kubeconfig"}, args...)...)
	child.Stdout = nil
	return call(child)
}
