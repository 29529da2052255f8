package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	core "k8s.io/api/core/v1"
)

const (
	binary      = "/usr/sbin/nginx"
	etc         = "/etc/nginx"
	mainFile    = etc + "/nginx.conf"
	defaultFile = etc + "/conf.d/_default-server.conf"
	versionFile = etc + "/version.conf"
	state       = "/var/lib/nginx"
	patience    = time.Minute
)

// Nginx is the process and its files. Only one change is made at a time.
type Nginx struct {
	version int
	ended   chan error

	counts  sync.Mutex
	reloads map[string]int
	failed  int
	lastOK  bool
	last    time.Duration
}

func newNginx() *Nginx {
	return &Nginx{ended: make(chan error, 1), reloads: map[string]int{"endpoints": 0, "other": 0}}
}

// socketClient speaks HTTP to one of nginx's sockets, over a connection of its own each time: a kept one would stay with
// workers that are about to end.
func socketClient(name string) *http.Client {
	return &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(state, name))
		},
	}}
}

func ask(socket, path string) (string, error) {
	response, err := socketClient(socket).Get("http://nginx" + path)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = errors.New(response.Status)
	}
	return string(body), err
}

func (n *Nginx) writeVersion() {
	text := fmt.Sprintf("server {\n    listen unix:%s/version.sock;\n    access_log off;\n    return 200 %d;\n}\n", state, n.version)
	if err := os.WriteFile(versionFile, []byte(text), 0o644); err != nil {
		fatal("%v", err)
	}
}

// inForce waits until a worker of the version answers.
func (n *Nginx) inForce() error {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(25 * time.Millisecond) {
		if answer, err := ask("version.sock", "/"); err == nil && answer == strconv.Itoa(n.version) {
			return nil
		}
	}
	return fmt.Errorf("could not get expected version: %d after %s", n.version, patience)
}

func (n *Nginx) start() {
	// What a container that was killed has left would be in the way.
	sockets, _ := filepath.Glob(state + "/*.sock")
	for _, socket := range sockets {
		os.Remove(socket)
	}
	n.writeVersion()
	command := exec.Command(binary, "-e", "stderr")
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	if err := command.Start(); err != nil {
		fatal("Failed to start nginx: %v", err)
	}
	go func() { n.ended <- command.Wait() }()
	if err := n.inForce(); err != nil {
		fatal("Could not get newest config version: %v", err)
	}
}

func run(arguments ...string) error {
	var said bytes.Buffer
	command := exec.Command(binary, arguments...)
	command.Stderr = &said
	err := command.Run()
	if err == nil {
		return nil
	}
	var lines []string
	for line := range strings.Lines(said.String()) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasSuffix(line, "test failed") {
			lines = append(lines, line)
		}
	}
	if len(lines) == 0 {
		return err
	}
	return errors.New(strings.Join(lines, "; "))
}

// reload is over when new workers answer; those before end their requests first.
func (n *Nginx) reload(reason string) error {
	n.version++
	n.writeVersion()
	began := time.Now()
	err := run("-s", "reload", "-e", "stderr")
	if err == nil {
		err = n.inForce()
	}
	n.counts.Lock()
	defer n.counts.Unlock()
	n.lastOK = err == nil
	if err != nil {
		n.failed++
		return fmt.Errorf("nginx reload failed: %w", err)
	}
	n.reloads[reason]++
	n.last = time.Since(began)
	return nil
}

func (n *Nginx) quit() error { return run("-s", "quit", "-e", "stderr") }

// put writes a file if nginx takes the configuration with it, and leaves what was there before if it does not.
func put(path string, content []byte) (changed bool, err error) {
	before, absent := os.ReadFile(path)
	if absent == nil && bytes.Equal(before, content) {
		return false, nil
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		fatal("Failed to write config to %s: %v", path, err)
	}
	refused := run("-t", "-q", "-e", "stderr")
	if refused == nil {
		return true, nil
	}
	name := filepath.Base(path)
	if absent == nil {
		if err := os.WriteFile(path, before, 0o644); err != nil {
			fatal("Failed to write config to %s: %v", path, err)
		}
		return false, fmt.Errorf("configuration validation failed for %s, rolled back to previous working config: %w", name, refused)
	}
	os.Remove(path)
	return false, fmt.Errorf("configuration validation failed for %s: %w", name, refused)
}

// writeSecret puts certificate and key into one file, and tells whether they are others than before.
func writeSecret(path string, secret *core.Secret) bool {
	certificate := bytes.TrimRight(secret.Data[core.TLSCertKey], "\n")
	content := slices.Concat(certificate, []byte("\n"), secret.Data[core.TLSPrivateKeyKey])
	if before, err := os.ReadFile(path); err == nil && bytes.Equal(before, content) {
		return false
	}
	err := os.WriteFile(path+".new", content, 0o600)
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		fatal("Couldn't write %s: %v", path, err)
	}
	return true
}
