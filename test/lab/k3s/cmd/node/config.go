package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"

	"sigs.k8s.io/yaml"
)

const (
	configFile = "/etc/rancher/k3s/config.yaml"
	dataDir    = "/var/lib/rancher/k3s"
	serverDir  = dataDir + "/server"
	agentDir   = dataDir + "/agent"
	tlsDir     = serverDir + "/tls"
	kubeconfig = "/etc/rancher/k3s/k3s.yaml"
)

// Config holds the flags of a command: each has a list of values, the last one counts where only one can.
type Config struct {
	values   map[string][]string
	NodeName string
	NodeIP   string
	Server   bool
	ending   sync.WaitGroup // what still has something to take back when the process is to end
}

type flagKind int

const (
	text flagKind = iota
	flag
	list
)

// Flags of the agent, which the server has too.
var agentFlags = map[string]flagKind{
	"config": text, "token": text, "token-file": text, "server": text, "node-name": text, "node-ip": list,
	"node-label": list, "node-taint": list, "flannel-iface": text, "kubelet-arg": list, "kube-proxy-arg": list,
	"protect-kernel-defaults": flag, "resolv-conf": text, "pause-image": text, "data-dir": text, "debug": flag,
	// Accepted and without effect here.
	"node-external-ip": list, "private-registry": text, "snapshotter": text, "selinux": flag, "lb-server-port": text,
	"with-node-id": flag, "prefer-bundled-bin": flag, "rootless": flag, "log": text, "alsologtostderr": flag, "v": text,
	"vmodule": text, "docker": flag, "container-runtime-endpoint": text, "default-runtime": text,
	"image-service-endpoint": text, "disable-default-registry-endpoint": flag, "nonroot-devices": flag,
	"flannel-conf": text, "flannel-cni-conf": text, "vpn-auth": text, "vpn-auth-file": text,
	"node-internal-dns": list, "node-external-dns": list, "bind-address": text,
	"enable-pprof": flag, "airgap-extra-registry": list, "disable-apiserver-lb": flag,
}

var serverFlags = map[string]flagKind{
	"cluster-init": flag, "cluster-reset": flag, "cluster-reset-restore-path": text, "agent-token": text,
	"agent-token-file": text, "tls-san": list, "write-kubeconfig-mode": text, "advertise-address": text,
	"cluster-cidr": text, "service-cidr": text, "service-node-port-range": text, "cluster-dns": text,
	"cluster-domain": text, "disable": list, "disable-network-policy": flag, "disable-helm-controller": flag,
	"disable-cloud-controller": flag, "disable-kube-proxy": flag, "egress-selector-mode": text,
	"embedded-registry": flag, "flannel-backend": text, "secrets-encryption": flag, "secrets-encryption-provider": text,
	"kube-apiserver-arg": list, "kube-controller-manager-arg": list, "kube-scheduler-arg": list, "etcd-arg": list,
	"etcd-expose-metrics": flag, "etcd-disable-snapshots": flag, "etcd-snapshot-name": text,
	"etcd-snapshot-schedule-cron": text, "etcd-snapshot-retention": text, "etcd-snapshot-dir": text,
	"etcd-snapshot-compress": flag, "default-local-storage-path": text, "system-default-registry": text,
	// Accepted and without effect here.
	"advertise-port": text, "https-listen-port": text, "write-kubeconfig": text, "write-kubeconfig-group": text,
	"tls-san-security": flag, "servicelb-namespace": text,
	"kube-cloud-controller-manager-arg": list, "kube-apiserver-port": text, "helm-job-image": text,
	"supervisor-metrics": flag, "disable-scheduler": flag, "disable-agent": flag,
	"disable-apiserver": flag, "disable-controller-manager": flag, "disable-etcd": flag, "flannel-ipv6-masq": flag,
	"flannel-external-ip": flag, "etcd-s3": flag, "etcd-snapshot-reconcile-interval": text,
	"datastore-endpoint": text, "multi-cluster-cidr": flag, "kine-tls": flag, "etcd-disable": flag,
}

// What the double takes without a word in K3s's place and does not do: said once, at the start.
var withoutEffect = []string{
	"embedded-registry", "node-external-ip", "private-registry", "selinux", "snapshotter", "with-node-id",
	"etcd-s3", "flannel-external-ip", "supervisor-metrics", "egress-selector-mode",
	"https-listen-port", "advertise-port", "write-kubeconfig", "data-dir", "vpn-auth", "datastore-endpoint",
}

func kindOf(name string, server bool) (flagKind, bool) {
	if kind, known := agentFlags[name]; known {
		return kind, true
	}
	kind, known := serverFlags[name]
	return kind, known && server
}

// readConfig merges config.yaml, config.yaml.d and the command line, as docs.k3s.io/installation/configuration says:
// a later file replaces a value, "key+" appends to it, the command line comes last and lists add up.
func readConfig(args []string, server bool) (*Config, error) {
	line, err := parseArgs(args, server)
	if err != nil {
		return nil, err
	}
	file := configFile
	if given := line["config"]; len(given) > 0 {
		file = given[len(given)-1]
	}
	values, err := readFiles(file, server)
	if err != nil {
		return nil, err
	}
	for name, given := range line {
		if kind, _ := kindOf(name, server); kind == list {
			values[name] = append(values[name], given...)
		} else {
			values[name] = given
		}
	}
	c := &Config{values: values, Server: server}
	for _, name := range withoutEffect {
		if c.text(name) != "" {
			warn("The lab's k3s accepts %s and does without it", name)
		}
	}
	return c, c.defaults()
}

func parseArgs(args []string, server bool) (map[string][]string, error) {
	values := map[string][]string{}
	for i := 0; i < len(args); i++ {
		if !strings.HasPrefix(args[i], "-") {
			return nil, fmt.Errorf("unexpected argument %q", args[i])
		}
		name, value, given := strings.Cut(strings.TrimLeft(args[i], "-"), "=")
		if name == "c" {
			name = "config"
		} else if name == "t" {
			name = "token"
		} else if name == "s" {
			name = "server"
		}
		kind, known := kindOf(name, server)
		if !known {
			return nil, fmt.Errorf("flag provided but not defined: -%s", name)
		}
		if !given && kind == flag {
			value = "true"
		} else if !given {
			if i++; i == len(args) {
				return nil, fmt.Errorf("flag needs an argument: -%s", name)
			}
			value = args[i]
		}
		values[name] = append(values[name], value)
	}
	return values, nil
}

func readFiles(file string, server bool) (map[string][]string, error) {
	files, _ := filepath.Glob(file + ".d/*")
	sort.Strings(files)
	values := map[string][]string{}
	for _, name := range append([]string{file}, files...) {
		if name != file && !strings.HasSuffix(name, ".yaml") && !strings.HasSuffix(name, ".yml") {
			continue
		}
		content, err := os.ReadFile(name)
		if os.IsNotExist(err) {
			continue
		} else if err != nil {
			return nil, err
		}
		var parsed map[string]any
		if err := yaml.Unmarshal(content, &parsed); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		for key, value := range parsed {
			name, appended := strings.CutSuffix(key, "+")
			name = strings.TrimLeft(name, "-")
			if _, known := kindOf(name, server); !known {
				warn("Unknown flag --%s found in config.yaml, skipping\n", name)
				continue
			}
			if appended {
				values[name] = append(values[name], toStrings(value)...)
			} else {
				values[name] = toStrings(value)
			}
		}
	}
	return values, nil
}

func toStrings(value any) []string {
	switch value := value.(type) {
	case nil:
		return nil
	case []any:
		var all []string
		for _, item := range value {
			all = append(all, toStrings(item)...)
		}
		return all
	case float64:
		return []string{strconv.FormatFloat(value, 'f', -1, 64)}
	default:
		return []string{fmt.Sprint(value)}
	}
}

func (c *Config) text(name string) string {
	if values := c.values[name]; len(values) > 0 {
		return values[len(values)-1]
	}
	return ""
}

func (c *Config) or(name, fallback string) string {
	if value := c.text(name); value != "" {
		return value
	}
	return fallback
}

func (c *Config) is(name string) bool {
	value, _ := strconv.ParseBool(c.text(name))
	return value
}

// list splits at commas, as K3s does for addresses, labels and names, never for arguments of components.
func (c *Config) list(name string) []string {
	var all []string
	for _, value := range c.values[name] {
		for _, item := range strings.Split(value, ",") {
			if item = strings.TrimSpace(item); item != "" {
				all = append(all, item)
			}
		}
	}
	return all
}

// extra renders the arguments of a component as flags.
func (c *Config) extra(name string) []string {
	var all []string
	for _, value := range c.values[name] {
		all = append(all, "--"+strings.TrimLeft(value, "-"))
	}
	return all
}

func (c *Config) defaults() error {
	c.NodeName = strings.ToLower(c.text("node-name"))
	if c.NodeName == "" {
		hostname, err := os.Hostname()
		if err != nil {
			return err
		}
		c.NodeName = strings.ToLower(strings.Split(hostname, ".")[0])
	}
	if addresses := c.list("node-ip"); len(addresses) > 0 {
		c.NodeIP = addresses[0]
	} else {
		address, err := defaultAddress()
		if err != nil {
			return err
		}
		c.NodeIP = address
	}
	if net.ParseIP(c.NodeIP) == nil {
		return fmt.Errorf("invalid node-ip %q", c.NodeIP)
	}
	return nil
}

func (c *Config) clusterCIDR() string   { return c.or("cluster-cidr", "10.42.0.0/16") }
func (c *Config) serviceCIDR() string   { return c.or("service-cidr", "10.43.0.0/16") }
func (c *Config) clusterDNS() string    { return c.or("cluster-dns", "10.43.0.10") }
func (c *Config) clusterDomain() string { return c.or("cluster-domain", "cluster.local") }
func (c *Config) advertise() string     { return c.or("advertise-address", c.NodeIP) }

// secret reads the token and where it may also come from.
func (c *Config) secret(name string) (string, error) {
	if value := c.text(name); value != "" {
		return strings.TrimSpace(value), nil
	}
	if file := c.text(name + "-file"); file != "" {
		content, err := os.ReadFile(file)
		return strings.TrimSpace(string(content)), err
	}
	return "", nil
}

// defaultAddress is the address on the NIC of the default route, what upstream's ChooseHostInterface finds.
func defaultAddress() (string, error) {
	nic, err := defaultInterface()
	if err != nil {
		return "", err
	}
	return addressOf(nic)
}

func addressOf(nic *net.Interface) (string, error) {
	addresses, err := nic.Addrs()
	if err != nil {
		return "", err
	}
	for _, address := range addresses {
		if network, is := address.(*net.IPNet); is && network.IP.To4() != nil {
			return network.IP.String(), nil
		}
	}
	return "", fmt.Errorf("%s has no IPv4 address", nic.Name)
}

func defaultInterface() (*net.Interface, error) {
	routes, err := os.ReadFile("/proc/net/route")
	if err != nil {
		return nil, err
	}
	for _, line := range strings.Split(string(routes), "\n") {
		if fields := strings.Fields(line); len(fields) > 7 && fields[1] == "00000000" && fields[7] == "00000000" {
			return net.InterfaceByName(fields[0])
		}
	}
	return nil, fmt.Errorf("no default routes found in \"/proc/net/route\" or \"/proc/net/ipv6_route\"")
}
