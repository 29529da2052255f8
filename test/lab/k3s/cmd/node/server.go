package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"k8s.io/component-base/version"
)

// untilStopped is a context that ends with the first signal to stop.
func untilStopped() context.Context {
	ctx, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	return ctx
}

// notifySocket is kept from the components: the API server, for one, tells systemd that it is ready when it is not.
var notifySocket = os.Getenv("NOTIFY_SOCKET")

func init() { _ = os.Unsetenv("NOTIFY_SOCKET") }

func ready() {
	_ = os.Setenv("NOTIFY_SOCKET", notifySocket)
	_, _ = daemon.SdNotify(true, "READY=1")
}

func runServer(args []string) {
	config, err := readConfig(args, true)
	if err != nil {
		fatal("%v", err)
	}
	ctx := untilStopped()
	registerMetrics()
	etcd := &Etcd{config: config}
	if err := config.server(ctx, etcd); err != nil && ctx.Err() == nil {
		fatal("starting kubernetes: %v", err)
	}
	<-ctx.Done()
	info("Shutdown request received")
	killChildren()
	go func() {
		time.Sleep(5 * time.Second)
		os.Exit(0)
	}()
	etcd.stop()
	config.ending.Wait()
	os.Exit(0)
}

// server is the life of a server: what it shares with its peers, its port, its etcd member, its API, its agent.
func (c *Config) server(ctx context.Context, etcd *Etcd) error {
	info("Starting k3s %s (test double)", version.Get().GitVersion)
	if err := os.MkdirAll(serverDir, 0o700); err != nil {
		return err
	}
	s, err := c.readSecrets()
	if err != nil {
		return err
	}
	if c.is("cluster-reset") {
		return c.reset(ctx, etcd, s)
	}
	if err := dropRemoved(); err != nil {
		return err
	}
	peer, err := c.prepare(s)
	if err != nil {
		return fmt.Errorf("preparing server: %w", err)
	}
	api := &API{ready: make(chan struct{})}
	supervisor := &Supervisor{config: c, api: api, etcd: etcd, secrets: s}
	if err := supervisor.serve(ctx); err != nil {
		return err
	}
	if !c.is("disable-agent") {
		go c.agent(ctx, "https://127.0.0.1:6443", formatOwn(s), api.ready)
	}
	if err := etcd.start(ctx, peer); err != nil {
		return err
	}
	go etcd.manageLearners(ctx)
	if err := etcd.waitVoter(ctx); err != nil {
		return err
	}
	if err := storeBootstrap(ctx, etcd.client, s.server); err != nil {
		return err
	}
	_ = os.Remove(resetFlag)
	go func() {
		if err := api.run(ctx, c.apiArguments()); err != nil && ctx.Err() == nil {
			fatal("apiserver exited: %v", err)
		}
	}()
	api.waitReady(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return c.afterReady(ctx, etcd)
}

func (c *Config) afterReady(ctx context.Context, etcd *Etcd) error {
	client, err := adminClient()
	if err != nil {
		return err
	}
	if err := c.writeAdminKubeconfig(); err != nil {
		return err
	}
	password, err := nodePassword()
	if err != nil {
		return err
	}
	for tries := 0; ; tries++ {
		if err = ensureNodePassword(ctx, client, c.NodeName, password); err == nil {
			break
		}
		if strings.Contains(err.Error(), "rejected") || tries > 20 {
			return err
		}
		time.Sleep(time.Second)
	}
	go keep("kube-controller-manager", c.controllerArguments()...)
	go keep("kube-scheduler", c.schedulerArguments()...)
	go etcd.markOwn(ctx, client)
	go etcd.manageNodes(ctx, client)
	go watchNodes(ctx, client)
	go c.deployManifests(ctx)
	go etcd.scheduleSnapshots(ctx)
	info("Kube API server is now running")
	info("k3s is up and running")
	ready()
	return nil
}

// prepare brings the files that servers share: from the peer this server joins, from disk, or new.
func (c *Config) prepare(s secrets) (*Joined, error) {
	var peer *Joined
	if url := strings.TrimRight(c.text("server"), "/"); url != "" && !etcdInitialized() {
		token, err := c.secret("token")
		if err != nil {
			return nil, err
		}
		if peer, err = join(url, token, "server"); err != nil {
			return nil, err
		}
		if err := c.compare(peer, s); err != nil {
			return nil, fmt.Errorf("failed to validate server configuration: %w", err)
		}
		content, err := peer.get("/v1-k3s/server-bootstrap")
		if err != nil {
			return nil, fmt.Errorf("failed to get bootstrap data: %w", err)
		}
		data := bootstrapData{}
		if err := json.Unmarshal(content, &data); err != nil {
			return nil, err
		}
		if err := data.write(); err != nil {
			return nil, err
		}
	} else if url == "" && !etcdInitialized() && !c.is("cluster-init") {
		warn("The lab's k3s knows embedded etcd only: starting as if cluster-init were set")
	}
	if etcdInitialized() {
		info("Managed etcd cluster bootstrap already complete and initialized")
	}
	for _, ensure := range []func() error{
		ensureAuthorities, c.ensureEncryption, c.ensureServerCerts, func() error { return c.writeTokens(s) },
		c.stageManifests,
	} {
		if err := ensure(); err != nil {
			return nil, err
		}
	}
	return peer, nil
}

// compare refuses to join where a value that must be the same everywhere is not.
func (c *Config) compare(peer *Joined, s secrets) error {
	content, err := peer.get("/v1-k3s/config")
	if err != nil {
		return err
	}
	var theirs Critical
	if err := json.Unmarshal(content, &theirs); err != nil {
		return err
	}
	if names := theirs.differences(c.critical(s)); len(names) > 0 {
		return fmt.Errorf("critical configuration value mismatch between servers: %s", strings.Join(names, ", "))
	}
	return nil
}

func formatOwn(s secrets) func() (string, error) {
	return func() (string, error) {
		ca, err := os.ReadFile(tlsFile("server-ca.crt"))
		return formatToken(ca, "node", s.agent), err
	}
}

func (c *Config) controllerArguments() []string {
	signing := func(kind, authority string) []string {
		flag := "--cluster-signing-" + kind
		return []string{flag + "-cert-file=" + tlsFile(authority+".crt"), flag + "-key-file=" + tlsFile(authority+".key")}
	}
	credentials := serverDir + "/cred/controller.kubeconfig"
	arguments := []string{
		"--allocate-node-cidrs=true", "--authentication-kubeconfig=" + credentials,
		"--authorization-kubeconfig=" + credentials, "--bind-address=127.0.0.1", "--cluster-cidr=" + c.clusterCIDR(),
		"--configure-cloud-routes=false", "--controllers=*,tokencleaner", "--kubeconfig=" + credentials,
		"--profiling=false", "--root-ca-file=" + tlsFile("server-ca.crt"), "--secure-port=10257",
		"--service-account-private-key-file=" + tlsFile("service.current.key"),
		"--service-cluster-ip-range=" + c.serviceCIDR(), "--use-service-account-credentials=true",
	}
	arguments = append(arguments, signing("kube-apiserver-client", "client-ca")...)
	arguments = append(arguments, signing("kubelet-client", "client-ca")...)
	arguments = append(arguments, signing("kubelet-serving", "server-ca")...)
	arguments = append(arguments, signing("legacy-unknown", "server-ca")...)
	return append(arguments, c.extra("kube-controller-manager-arg")...)
}

func (c *Config) schedulerArguments() []string {
	credentials := serverDir + "/cred/scheduler.kubeconfig"
	return append([]string{
		"--authentication-kubeconfig=" + credentials, "--authorization-kubeconfig=" + credentials,
		"--bind-address=127.0.0.1", "--kubeconfig=" + credentials, "--profiling=false", "--secure-port=10259",
	}, c.extra("kube-scheduler-arg")...)
}

// reset makes this member the only one, from its own data or from a snapshot, and ends the process.
// docs.k3s.io/datastore/backup-restore; K3s: pkg/etcd/etcd.go, Reset.
func (c *Config) reset(ctx context.Context, etcd *Etcd, s secrets) error {
	if _, err := os.Stat(resetFlag); err == nil {
		return fmt.Errorf("Managed etcd cluster membership was already reset, please remove the cluster-reset flag and "+
			"start k3s normally. If you need to perform another cluster reset, you must first manually delete the file at %s",
			resetFlag)
	}
	snapshot := c.text("cluster-reset-restore-path")
	if snapshot == "" && !etcdInitialized() {
		return errors.New("cluster-reset requires embedded etcd data or --cluster-reset-restore-path")
	}
	for _, ensure := range []func() error{ensureAuthorities, c.ensureEncryption, c.ensureServerCerts} {
		if err := ensure(); err != nil {
			return err
		}
	}
	if snapshot != "" {
		if err := etcd.restore(snapshot); err != nil {
			return err
		}
	} else if err := etcd.setName(true); err != nil {
		return err
	}
	if err := writeFile(resetFlag, nil, 0o600); err != nil {
		return err
	}
	if err := etcd.run(ctx, etcd.name+"="+etcd.peerURL(), "new", true); err != nil {
		return err
	}
	if err := etcd.ownPeerURL(ctx); err != nil {
		return err
	}
	if err := etcd.waitVoter(ctx); err != nil {
		return err
	}
	stored, err := loadBootstrap(ctx, etcd.client, s.server)
	if err != nil {
		return err
	}
	if err := stored.write(); err != nil {
		return err
	}
	for _, ensure := range []func() error{c.ensureServerCerts, func() error { return c.writeTokens(s) }} {
		if err := ensure(); err != nil {
			return err
		}
	}
	killChildren()
	etcd.stop()
	info("Managed etcd cluster membership has been reset, restart without --cluster-reset flag now. Backup and delete " +
		"${datadir}/server/db on each peer etcd server and rejoin the nodes")
	os.Exit(0)
	return nil
}
