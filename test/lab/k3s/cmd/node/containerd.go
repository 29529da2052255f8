package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"text/template"
	"time"
)

const (
	containerdRun    = "/run/k3s/containerd"
	containerdSocket = containerdRun + "/containerd.sock"
	containerdRoot   = agentDir + "/containerd"
	cniConfigDir     = agentDir + "/etc/cni/net.d"
	imagesDir        = agentDir + "/images"
	pauseImage       = "docker.io/rancher/mirrored-pause:3.10.2"
)

var containerdConfig = template.Must(template.New("").Parse(`# Written by the lab's k3s at each start.
version = 3
root = "{{.Root}}"
state = "{{.Run}}"

[grpc]
  address = "{{.Socket}}"

[plugins.'io.containerd.internal.v1.opt']
  path = "{{.Root}}"

[plugins.'io.containerd.cri.v1.runtime']
  enable_selinux = false
  enable_unprivileged_ports = true
  enable_unprivileged_icmp = true
  restrict_oom_score_adj = {{.Restrict}}
  disable_apparmor = {{.NoAppArmor}}
  device_ownership_from_security_context = false

[plugins.'io.containerd.cri.v1.images']
  snapshotter = "overlayfs"
  disable_snapshot_annotations = true

[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "{{.Pause}}"

[plugins.'io.containerd.cri.v1.images'.registry]
  config_path = "{{.Certs}}"

[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ["{{.Bin}}"]
  conf_dir = "{{.CNI}}"

[plugins.'io.containerd.cri.v1.runtime'.containerd]
  default_runtime_name = "runc"

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
  SystemdCgroup = {{.Systemd}}

[plugins.'io.containerd.grpc.v1.cri']
  stream_server_address = "127.0.0.1"
  stream_server_port = "10010"
`))

func binDir() string {
	self, err := os.Executable()
	if err != nil {
		fatal("%v", err)
	}
	return filepath.Dir(self)
}

// mayRaise tells whether this process may lower OOM scores: containers without CAP_SYS_RESOURCE may not.
func mayRaise() bool {
	content, _ := os.ReadFile("/proc/self/status")
	for _, line := range strings.Split(string(content), "\n") {
		var capabilities uint64
		if _, err := fmt.Sscanf(line, "CapEff:\t%x", &capabilities); err == nil {
			return capabilities&(1<<24) != 0
		}
	}
	return false
}

// startContainerd returns when containerd answers and the air-gap images are in.
func startContainerd(ctx context.Context, c *Config) error {
	_, noAppArmor := os.Stat("/sys/kernel/security/apparmor/profiles")
	var content bytes.Buffer
	err := containerdConfig.Execute(&content, map[string]any{
		"Root": containerdRoot, "Run": containerdRun, "Socket": containerdSocket, "Bin": binDir(), "CNI": cniConfigDir,
		"Pause": c.or("pause-image", pauseImage), "Restrict": !mayRaise(), "NoAppArmor": noAppArmor != nil,
		"Systemd": !cgroupV1() && os.Getenv("INVOCATION_ID") != "",
		"Certs":   agentDir + "/etc/containerd/certs.d",
	})
	if err != nil {
		return err
	}
	file := agentDir + "/etc/containerd/config.toml"
	if err := writeFile(file, content.Bytes(), 0o600); err != nil {
		return err
	}
	for _, made := range []string{cniConfigDir, containerdRun, imagesDir, agentDir + "/etc/containerd/certs.d"} {
		if err := os.MkdirAll(made, 0o755); err != nil {
			return err
		}
	}
	if err := os.Setenv("PATH", binDir()+":"+os.Getenv("PATH")); err != nil {
		return err
	}
	go keep("containerd", "--config", file, "--log-level", "warn")
	for ctr("version") != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		time.Sleep(300 * time.Millisecond)
	}
	if err := importImages(); err != nil {
		return err
	}
	go watchImages(ctx)
	return nil
}

func ctr(args ...string) error {
	child := command("ctr", args...)
	child.Stdout, child.Stderr = nil, nil
	if args[0] != "version" {
		child.Stderr = os.Stderr
	}
	return call(child)
}

// imagesEvery: K3s, pkg/agent/containerd/watcher.go, imports two seconds after a file came.
const imagesEvery = 2 * time.Second

// pinned keeps the kubelet from removing what lies in agent/images: K3s, pkg/agent/containerd/containerd.go.
var pinned = []string{"--label", "io.cattle.k3s.pinned=pinned", "--label", "io.cri-containerd.pinned=pinned"}

// watchImages loads what comes to agent/images later: docs.k3s.io/add-ons/import-images.
func watchImages(ctx context.Context) {
	for ctx.Err() == nil {
		time.Sleep(imagesEvery)
		if err := importImages(); err != nil {
			problem("Unable to keep what was imported: %v", err)
		}
	}
}

var tried = map[string]string{}

// importImages loads what lies in agent/images and was not loaded before: docs.k3s.io/installation/airgap. A file that
// cannot be loaded is tried again when it changes, and with the next start.
func importImages() error {
	state := filepath.Join(containerdRoot, "k3s-imported.json")
	known := map[string]string{}
	if content, err := os.ReadFile(state); err == nil {
		_ = json.Unmarshal(content, &known)
	}
	files, _ := filepath.Glob(imagesDir + "/*")
	sort.Strings(files)
	changed := false
	for _, file := range files {
		held, err := os.Stat(file)
		archive := strings.HasSuffix(file, ".tar") || strings.HasSuffix(file, ".tar.zst") ||
			strings.HasSuffix(file, ".tar.gz") || strings.HasSuffix(file, ".tgz")
		if err != nil || !archive {
			continue
		}
		mark := fmt.Sprintf("%d %d", held.Size(), held.ModTime().UnixNano())
		if known[file] == mark || tried[file] == mark {
			continue
		}
		tried[file] = mark
		began := time.Now()
		arguments := append([]string{"-n", "k8s.io", "images", "import", "--all-platforms"}, pinned...)
		if err := ctr(append(arguments, file)...); err != nil {
			problem("Unable to import %s: %v", file, err)
			continue
		}
		info("Imported images from %s in %s", file, time.Since(began).Round(time.Millisecond))
		known[file] = mark
		changed = true
	}
	if !changed {
		return nil
	}
	content, err := json.Marshal(known)
	if err != nil {
		return err
	}
	return writeFile(state, content, 0o600)
}
