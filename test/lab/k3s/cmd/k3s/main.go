// The k3s that is installed: it carries the real binaries at its own end, unpacks them at the first use under
// data/<hash>, as K3s does (K3s: cmd/k3s/main.go), and becomes the one that was asked for.
package main

import (
	"archive/tar"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"

	"github.com/klauspost/compress/zstd"
	"keybuzz.io/lab/k3s/internal/bundle"
)

// Version is set by the build.
var version = "unknown"

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "k3s:", err)
		os.Exit(1)
	}
}

func run() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	held, err := bundle.Open(self)
	if err != nil {
		return err
	}
	defer held.Close()
	hash := hex.EncodeToString(held.Hash)
	args := os.Args
	if len(args) > 1 && slices.Contains([]string{"--version", "-v"}, args[1]) {
		fmt.Printf("k3s version %s (%s)\ngo version %s\n", version, hash[:8], runtime.Version())
		return nil
	}
	switch name := filepath.Base(args[0]); name {
	case "kubectl", "ctr", "crictl":
		args = append([]string{"k3s", name}, args[1:]...)
	default:
		args = append([]string{"k3s"}, args[1:]...)
	}
	bin, err := unpack(held, hash)
	if err != nil {
		return fmt.Errorf("extracting data: %w", err)
	}
	return syscall.Exec(filepath.Join(bin, "k3s"), args, os.Environ())
}

// dataDir is K3s's for root, and in the home of anybody else.
func dataDir() (string, error) {
	if os.Geteuid() == 0 {
		return "/var/lib/rancher/k3s/data", nil
	}
	home, err := os.UserHomeDir()
	return filepath.Join(home, ".rancher/k3s/data"), err
}

func unpack(held *bundle.Bundle, hash string) (string, error) {
	data, err := dataDir()
	if err != nil {
		return "", err
	}
	target := filepath.Join(data, hash)
	bin := filepath.Join(target, "bin")
	if _, err := os.Stat(bin); err == nil {
		return bin, nil
	}
	if err := os.MkdirAll(data, 0o755); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(data, ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	if _, err := os.Stat(bin); err == nil {
		return bin, nil
	}
	beside := target + "-tmp"
	if err := os.RemoveAll(beside); err != nil {
		return "", err
	}
	if err := extract(held, filepath.Join(beside, "bin")); err != nil {
		return "", err
	}
	if err := os.Rename(beside, target); err != nil {
		return "", err
	}
	return bin, link(data, hash)
}

func extract(held *bundle.Bundle, into string) error {
	if err := os.MkdirAll(into, 0o755); err != nil {
		return err
	}
	content, err := zstd.NewReader(held)
	if err != nil {
		return err
	}
	defer content.Close()
	for archive := tar.NewReader(content); ; {
		header, err := archive.Next()
		if err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		file, err := os.OpenFile(filepath.Join(into, filepath.Base(header.Name)), os.O_CREATE|os.O_WRONLY, 0o755)
		if err != nil {
			return err
		}
		_, err = io.Copy(file, archive)
		if closed := file.Close(); err == nil {
			err = closed
		}
		if err != nil {
			return err
		}
	}
}

// link points data/current at what is used now, and data/previous at what was before.
func link(data, hash string) error {
	current, previous := filepath.Join(data, "current"), filepath.Join(data, "previous")
	if before, err := os.Readlink(current); err == nil && before != hash {
		_ = os.Remove(previous)
		if err := os.Symlink(before, previous); err != nil {
			return err
		}
	}
	_ = os.Remove(current)
	return os.Symlink(hash, current)
}
