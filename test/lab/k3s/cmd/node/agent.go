package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

func runAgent(args []string) {
	config, err := readConfig(args, false)
	if err != nil {
		fatal("%v", err)
	}
	ctx := untilStopped()
	registerMetrics()
	server, err := url.Parse(strings.TrimRight(config.text("server"), "/"))
	if err != nil || server.Host == "" {
		fatal("--server is required")
	}
	token, err := config.secret("token")
	if err != nil || token == "" {
		fatal("--token is required")
	}
	address := server.Host
	if server.Port() == "" {
		address = net.JoinHostPort(server.Hostname(), "443")
	}
	balancer := newBalancer(address)
	if err := balancer.serve(ctx); err != nil {
		fatal("%v", err)
	}
	go func() {
		config.agent(ctx, "https://127.0.0.1:6444", func() (string, error) { return token, nil }, nil)
		go balancer.learn(ctx, agentDir+"/k3scontroller.kubeconfig")
		info("k3s agent is up and running")
		ready()
	}()
	<-ctx.Done()
	info("Shutdown request received")
	killChildren()
	config.ending.Wait()
	os.Exit(0)
}

// agent runs what every node has. On a server, api is closed when its API answers; an agent asks its server instead.
func (c *Config) agent(ctx context.Context, url string, token func() (string, error), api <-chan struct{}) {
	if err := startContainerd(ctx, c); err != nil {
		fatal("containerd: %v", err)
	}
	var cluster *Critical
	for said := ""; ctx.Err() == nil; time.Sleep(2 * time.Second) {
		var err error
		if cluster, err = c.register(url, token); err == nil {
			break
		}
		if message := err.Error(); message != said {
			problem("Failed to retrieve agent configuration: %v", err)
			said = message
		}
	}
	if api != nil {
		select {
		case <-api:
		case <-ctx.Done():
			return
		}
	}
	if ctx.Err() != nil {
		return
	}
	arguments, err := c.kubeletArguments(cluster)
	if err != nil {
		fatal("%v", err)
	}
	go watchCertificates(ctx, c.Server)
	go runKubelet(ctx, arguments)
	if !cluster.DisableKubeProxy {
		go runKubeProxy(ctx, c.proxyArguments(cluster))
	}
	if cluster.FlannelBackend != "none" {
		go c.flannel(ctx, cluster)
	}
	if !cluster.DisableNPC {
		c.ending.Go(func() {
			if err := c.enforcePolicies(ctx); err != nil {
				problem("Network policies are not enforced: %v", err)
			}
		})
	}
	for ctx.Err() == nil {
		if response, err := http.Get("http://127.0.0.1:10248/healthz"); err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return
			}
		}
		time.Sleep(500 * time.Millisecond)
	}
}

// register fetches what a node needs from a supervisor, with the token or the certificate of the last time.
// K3s: pkg/agent/config/config.go.
func (c *Config) register(url string, token func() (string, error)) (*Critical, error) {
	given, err := token()
	if err != nil {
		return nil, err
	}
	at := func(name string) string { return filepath.Join(agentDir, name) }
	var held []tls.Certificate
	if certificate, err := tls.LoadX509KeyPair(at("client-kubelet.crt"), at("client-kubelet.key")); err == nil {
		held = append(held, certificate)
	}
	supervisor, err := join(url, given, "node", held...)
	if err != nil {
		return nil, err
	}
	password, err := nodePassword()
	if err != nil {
		return nil, err
	}
	headers := map[string]string{
		"k3s-Node-Name": c.NodeName, "k3s-Node-Password": password, "k3s-Node-IP": c.NodeIP,
	}
	for _, name := range []string{"client-kubelet", "serving-kubelet", "client-kube-proxy", "client-k3s-controller"} {
		key, err := ensureKey(at(name + ".key"))
		if err != nil {
			return nil, err
		}
		template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: c.NodeName}}
		asked, err := x509.CreateCertificateRequest(rand.Reader, template, key)
		if err != nil {
			return nil, err
		}
		content, err := supervisor.do(http.MethodPost, "/v1-k3s/"+name+".crt", asked, headers)
		if err != nil {
			return nil, err
		}
		if err := writeFile(at(name+".crt"), content, 0o600); err != nil {
			return nil, err
		}
	}
	for _, name := range []string{"client-ca.crt", "server-ca.crt"} {
		content, err := supervisor.get("/v1-k3s/" + name)
		if err != nil {
			return nil, err
		}
		if err := writeFile(at(name), content, 0o600); err != nil {
			return nil, err
		}
	}
	content, err := supervisor.get("/v1-k3s/config")
	if err != nil {
		return nil, err
	}
	cluster := &Critical{}
	if err := json.Unmarshal(content, cluster); err != nil {
		return nil, err
	}
	for file, name := range map[string]string{
		"kubelet": "client-kubelet", "kubeproxy": "client-kube-proxy", "k3scontroller": "client-k3s-controller",
	} {
		err := writeKubeconfig(at(file+".kubeconfig"), url, at("server-ca.crt"), at(name+".crt"), at(name+".key"))
		if err != nil {
			return nil, err
		}
	}
	return cluster, c.waitAPI(url, supervisor)
}

// waitAPI holds an agent back until the API behind its server answers. A server's own agent waits elsewhere.
func (c *Config) waitAPI(url string, supervisor *Joined) error {
	if c.Server {
		return nil
	}
	_, err := supervisor.get("/v1-k3s/readyz")
	return err
}

func cgroupV1() bool {
	_, err := os.Stat("/sys/fs/cgroup/cgroup.controllers")
	return err != nil
}

// kubeletArguments writes the kubelet's settings where K3s does, as a drop-in, and adds what only flags can say.
func (c *Config) kubeletArguments(cluster *Critical) ([]string, error) {
	driver := "systemd"
	if cgroupV1() || os.Getenv("INVOCATION_ID") == "" {
		driver = "cgroupfs"
	}
	settings := map[string]any{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"address": "0.0.0.0", "healthzBindAddress": "127.0.0.1", "cgroupDriver": driver,
		"authentication": map[string]any{
			"anonymous": map[string]any{"enabled": false}, "webhook": map[string]any{"enabled": true},
			"x509": map[string]any{"clientCAFile": agentDir + "/client-ca.crt"},
		},
		"authorization": map[string]any{"mode": "Webhook"},
		"clusterDNS":    []string{cluster.ClusterDNS}, "clusterDomain": cluster.ClusterDomain,
		"containerRuntimeEndpoint": "unix://" + containerdSocket, "failSwapOn": false,
		"evictionHard":              map[string]string{"imagefs.available": "5%", "nodefs.available": "5%"},
		"evictionMinimumReclaim":    map[string]string{"imagefs.available": "10%", "nodefs.available": "10%"},
		"serializeImagePulls":       false,
		"staticPodPath":             agentDir + "/pod-manifests",
		"tlsCertFile":               agentDir + "/serving-kubelet.crt",
		"tlsPrivateKeyFile":         agentDir + "/serving-kubelet.key",
		"protectKernelDefaults":     c.is("protect-kernel-defaults"),
		"nodeStatusReportFrequency": "5m0s",
		"volumePluginDir":           "/usr/libexec/kubernetes/kubelet-plugins/volume/exec",
	}
	if resolver := c.resolver(); resolver != "" {
		settings["resolvConf"] = resolver
	}
	content, err := yaml.Marshal(settings)
	if err != nil {
		return nil, err
	}
	directory := agentDir + "/etc/kubelet.conf.d"
	if err := writeFile(directory+"/00-k3s-defaults.conf", content, 0o600); err != nil {
		return nil, err
	}
	for _, made := range []string{agentDir + "/pod-manifests", "/var/lib/kubelet"} {
		if err := os.MkdirAll(made, 0o700); err != nil {
			return nil, err
		}
	}
	arguments := []string{
		"--config-dir=" + directory, "--hostname-override=" + c.NodeName, "--read-only-port=0",
		"--containerd=" + containerdSocket, // for cAdvisor alone: without it containers have neither names nor networks
		"--kubeconfig=" + agentDir + "/kubelet.kubeconfig", "--node-ip=" + c.NodeIP, "--node-labels=" +
			strings.Join(append([]string{"node.kubernetes.io/instance-type=k3s"}, c.list("node-label")...), ","),
	}
	if taints := c.list("node-taint"); len(taints) > 0 {
		arguments = append(arguments, "--register-with-taints="+strings.Join(taints, ","))
	}
	return append(arguments, c.extra("kubelet-arg")...), nil
}

// resolver keeps pods from a nameserver that only the node itself can reach: K3s, pkg/agent/config/config.go.
func (c *Config) resolver() string {
	if given := c.text("resolv-conf"); given != "" {
		return given
	}
	for _, file := range []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"} {
		if content, err := os.ReadFile(file); err == nil {
			if usable(string(content)) {
				return file
			}
		}
	}
	file := agentDir + "/etc/resolv.conf"
	warn("Host resolv.conf includes loopback or multicast nameservers - kubelet will use autogenerated resolv.conf with nameserver 8.8.8.8")
	if err := writeFile(file, []byte("nameserver 8.8.8.8\n"), 0o644); err != nil {
		return ""
	}
	return file
}

func usable(content string) bool {
	found := false
	for _, line := range strings.Split(content, "\n") {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "nameserver" {
			address := net.ParseIP(fields[1])
			if address == nil || !address.IsGlobalUnicast() {
				return false
			}
			found = true
		}
	}
	return found
}

func (c *Config) proxyArguments(cluster *Critical) []string {
	return append([]string{
		"--cluster-cidr=" + cluster.ClusterCIDR, "--conntrack-max-per-core=0", "--conntrack-tcp-timeout-close-wait=0s",
		"--conntrack-tcp-timeout-established=0s", "--healthz-bind-address=127.0.0.1", "--hostname-override=" + c.NodeName,
		"--kubeconfig=" + agentDir + "/kubeproxy.kubeconfig", "--metrics-bind-address=127.0.0.1:10249",
		"--proxy-mode=iptables", "--bind-address=" + c.NodeIP,
	}, c.extra("kube-proxy-arg")...)
}
