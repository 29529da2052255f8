package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"sigs.k8s.io/yaml"
)

const (
	etcdDir      = serverDir + "/db/etcd"
	snapshotsDir = serverDir + "/db/snapshots"
	resetFlag    = serverDir + "/db/reset-flag"
	tombstone    = etcdDir + "/tombstone"
	localEtcd    = "https://127.0.0.1:2379"

	// K3s, pkg/etcd/etcd.go: how often the leader looks after learners and conditions, and how long one may stall.
	manageEvery = 15 * time.Second
	mayStall    = 5 * time.Minute

	joinTries = 6
)

// Etcd is this server's member.
type Etcd struct {
	config  *Config
	name    string
	server  *embed.Etcd
	client  *clientv3.Client
	removed atomic.Bool
}

func (e *Etcd) peerURL() string   { return "https://" + e.config.NodeIP + ":2380" }
func (e *Etcd) clientURL() string { return "https://" + e.config.NodeIP + ":2379" }

func etcdInitialized() bool {
	held, err := os.Stat(etcdDir + "/member/wal")
	return err == nil && held.IsDir()
}

func etcdClient(ctx context.Context, endpoints ...string) (*clientv3.Client, error) {
	certificate, err := tls.LoadX509KeyPair(tlsFile("etcd/client.crt"), tlsFile("etcd/client.key"))
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(tlsFile("etcd/server-ca.crt"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	return clientv3.New(clientv3.Config{
		Context: ctx, Endpoints: endpoints, DialTimeout: 2 * time.Second, DialKeepAliveTime: 30 * time.Second,
		DialKeepAliveTimeout: 10 * time.Second, Logger: zap.NewNop(),
		TLS: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{certificate}},
	})
}

// setName keeps the name of the member, which is the node's with a random tail: K3s, pkg/etcd/etcd.go, setName.
func (e *Etcd) setName(fresh bool) error {
	file := etcdDir + "/name"
	if content, err := os.ReadFile(file); err == nil && !fresh {
		e.name = string(content)
		return nil
	}
	e.name = e.config.NodeName + "-" + randomHex(4)
	return writeFile(file, []byte(e.name), 0o600)
}

// dropRemoved moves the data of a member that was removed out of the way, so that this server joins anew.
func dropRemoved() error {
	if _, err := os.Stat(tombstone); err != nil {
		return nil
	}
	info("tombstone file has been detected, removing data dir to rejoin the cluster")
	return os.Rename(etcdDir, oldDir())
}

// start brings the member up: again, as the first of a cluster, or as a learner of the cluster behind peer.
func (e *Etcd) start(ctx context.Context, peer *Joined) error {
	if err := e.setName(false); err != nil {
		return err
	}
	switch {
	case etcdInitialized():
		return e.run(ctx, "", "existing", false)
	case peer == nil:
		return e.run(ctx, e.name+"="+e.peerURL(), "new", false)
	}
	for tries := 1; ; tries++ {
		cluster, err := e.join(ctx, peer)
		switch {
		case err == nil:
			return e.run(ctx, cluster, "existing", false)
		case errors.Is(err, rpctypes.ErrTooManyLearners), errors.Is(err, rpctypes.ErrUnhealthy),
			errors.Is(err, rpctypes.ErrMemberNotEnoughStarted):
			info("Waiting for other members to finish joining etcd cluster: %v", err)
		case errors.Is(err, errDuplicate) || tries == joinTries:
			return fmt.Errorf("ETCD join failed: %w", err)
		default: // behind a load balancer the answer may even have come from this very server
			warn("Failed to join the etcd cluster: %v", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Second):
		}
	}
}

var errDuplicate = errors.New("duplicate node name found, please use a unique name for this node")

// join adds this member as a learner and answers with the cluster it belongs to.
func (e *Etcd) join(ctx context.Context, peer *Joined) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	content, err := peer.get("/db/info")
	if err != nil {
		return "", err
	}
	var known struct{ Members []*etcdserverpb.Member }
	if err := json.Unmarshal(content, &known); err != nil {
		return "", err
	}
	var endpoints []string
	for _, member := range known.Members {
		if !member.IsLearner && !strings.Contains(strings.Join(member.ClientURLs, " "), e.config.NodeIP+":") {
			endpoints = append(endpoints, member.ClientURLs...)
		}
	}
	client, err := etcdClient(ctx, endpoints...)
	if err != nil {
		return "", err
	}
	defer client.Close()
	members, err := client.MemberList(ctx)
	if err != nil {
		return "", err
	}
	var cluster []string
	add := true
	for _, member := range members.Members {
		if len(member.PeerURLs) == 0 {
			continue
		}
		at, err := url.Parse(member.PeerURLs[0])
		if err != nil {
			return "", err
		}
		if member.Name == "" && at.Hostname() == e.config.NodeIP {
			member.Name = e.name // a member that was added and has not started yet has no name
		}
		if member.Name == e.name && at.Hostname() == e.config.NodeIP {
			add = false
		} else if nodeOfMember(member.Name) == e.config.NodeName {
			_ = os.Remove(etcdDir + "/name")
			return "", errDuplicate
		}
		cluster = append(cluster, member.Name+"="+member.PeerURLs[0])
	}
	if add {
		info("Adding member %s=%s to etcd cluster %v", e.name, e.peerURL(), cluster)
		if _, err := client.MemberAddAsLearner(ctx, []string{e.peerURL()}); err != nil {
			return "", err
		}
		cluster = append(cluster, e.name+"="+e.peerURL())
	}
	info("Starting etcd for cluster %v", cluster)
	return strings.Join(cluster, ","), nil
}

func nodeOfMember(name string) string {
	if hyphen := strings.LastIndex(name, "-"); hyphen > 1 {
		return name[:hyphen]
	}
	return name
}

func (e *Etcd) run(ctx context.Context, cluster, state string, forceNew bool) error {
	settings := map[string]any{
		"name": e.name, "data-dir": etcdDir, "advertise-client-urls": e.clientURL(),
		"listen-client-urls": e.clientURL() + "," + localEtcd, "listen-peer-urls": e.peerURL(),
		"listen-metrics-urls": e.metricsURLs(), "initial-advertise-peer-urls": e.peerURL(),
		"initial-cluster-state": state, "force-new-cluster": forceNew,
		"heartbeat-interval": 500, "election-timeout": 5000, "snapshot-count": 10000,
		"logger": "zap", "log-outputs": []string{"stderr"}, "log-level": "warn",
		"client-transport-security": transport("etcd/server-client", "etcd/server-ca"),
		"peer-transport-security":   transport("etcd/peer-server-client", "etcd/peer-ca"),
	}
	if cluster != "" {
		settings["initial-cluster"] = cluster
	} else {
		settings["initial-cluster"] = e.name + "=" + e.peerURL()
	}
	for _, argument := range e.config.values["etcd-arg"] {
		name, value, _ := strings.Cut(argument, "=")
		var typed any
		if yaml.Unmarshal([]byte(value), &typed) != nil {
			typed = value
		}
		settings[name] = typed
	}
	content, err := yaml.Marshal(settings)
	if err != nil {
		return err
	}
	file := etcdDir + "/config"
	if err := writeFile(file, content, 0o600); err != nil {
		return err
	}
	if err := os.Chmod(etcdDir, 0o700); err != nil {
		return err
	}
	config, err := embed.ConfigFromFile(file)
	if err != nil {
		return err
	}
	logger, err := e.logger()
	if err != nil {
		return err
	}
	config.ZapLoggerBuilder = embed.NewZapLoggerBuilder(logger)
	config.WarningUnaryRequestDuration = embed.DefaultWarningUnaryRequestDuration // a file leaves it at zero
	info("Running etcd with config %s", file)
	if e.server, err = embed.StartEtcd(config); err != nil {
		return err
	}
	go e.watch(ctx)
	if e.client, err = etcdClient(ctx, localEtcd); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-e.server.Server.ReadyNotify():
			return nil
		case <-time.After(30 * time.Second):
			info("Waiting for etcd server to become available")
		}
	}
}

func transport(cert, ca string) map[string]any {
	return map[string]any{
		"cert-file": tlsFile(cert + ".crt"), "key-file": tlsFile(cert + ".key"), "client-cert-auth": true,
		"trusted-ca-file": tlsFile(ca + ".crt"),
	}
}

func (e *Etcd) metricsURLs() string {
	if e.config.is("etcd-expose-metrics") {
		return "http://127.0.0.1:2381,http://" + e.config.NodeIP + ":2381"
	}
	return "http://127.0.0.1:2381"
}

// watch ends the process when the member fails. A member that was removed leaves a tombstone, so that the next start
// joins anew: K3s, pkg/daemons/executor/embed.go.
func (e *Etcd) watch(ctx context.Context) {
	select {
	case <-ctx.Done():
	case err := <-e.server.Err():
		fatal("etcd exited: %v", err)
	case <-e.server.Server.StopNotify():
		if ctx.Err() != nil || isStopping() {
			return
		}
		if e.removed.Load() {
			_ = os.WriteFile(tombstone, nil, 0o600)
			fatal("this node has been removed from the cluster please restart k3s to rejoin the cluster")
		}
		fatal("etcd stopped")
	}
}

// logger is etcd's own, at level warning. Upstream tells in its log alone that a member was removed for good.
func (e *Etcd) logger() (*zap.Logger, error) {
	config := zap.NewProductionConfig()
	config.Level = zap.NewAtomicLevelAt(zap.WarnLevel)
	return config.Build(zap.Hooks(func(entry zapcore.Entry) error {
		if strings.Contains(entry.Message, "data-dir used by this member must be removed") {
			e.removed.Store(true)
		}
		return nil
	}))
}

// stop hands leadership over and stops the member. It does not wait for clients to leave: the API server is one.
func (e *Etcd) stop() {
	if e.server != nil {
		e.server.Server.Stop()
	}
}

// test holds when this member is a voter of its cluster.
func (e *Etcd) test(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	status, err := e.client.Status(ctx, localEtcd)
	if err != nil {
		return err
	}
	if status.IsLearner {
		return errors.New("this server has not yet been promoted from learner to voting member")
	}
	members, err := e.client.MemberList(ctx)
	if err != nil {
		return err
	}
	for _, member := range members.Members {
		if member.Name == e.name && len(member.PeerURLs) > 0 && member.PeerURLs[0] == e.peerURL() {
			return nil
		}
	}
	return fmt.Errorf("this server is not a member of the etcd cluster. Expect: %s=%s", e.name, e.peerURL())
}

func (e *Etcd) waitVoter(ctx context.Context) error {
	for said := ""; ; {
		err := e.test(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if message := err.Error(); message != said {
			info("Failed to test etcd connection: %v", err)
			said = message
		}
		time.Sleep(time.Second)
	}
}

func (e *Etcd) serveMembers(w http.ResponseWriter, r *http.Request) {
	members := []*etcdserverpb.Member{{
		Name: e.name, PeerURLs: []string{e.peerURL()}, ClientURLs: []string{e.clientURL()},
	}}
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
	defer cancel()
	if e.client == nil {
		sendError(w, http.StatusServiceUnavailable, "etcd is not running yet")
		return
	}
	if answer, err := e.client.MemberList(ctx); err == nil {
		members = answer.Members
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"members": members})
}

func (e *Etcd) isLeader(ctx context.Context) bool {
	if e.server == nil || e.client == nil {
		return false
	}
	return e.server.Server.Leader() == e.server.Server.MemberID()
}

// manageLearners promotes, on the leader, what has caught up, and evicts what stalls.
func (e *Etcd) manageLearners(ctx context.Context) {
	progress := map[uint64]uint64{}
	since := map[uint64]time.Time{}
	for range time.Tick(manageEvery) {
		if !e.isLeader(ctx) {
			continue
		}
		call, cancel := context.WithTimeout(ctx, 10*time.Second)
		members, err := e.client.MemberList(call)
		if err != nil {
			problem("Failed to get etcd members for learner management: %v", err)
			cancel()
			continue
		}
		for _, member := range members.Members {
			if !member.IsLearner {
				continue
			}
			if _, err := e.client.MemberPromote(call, member.ID); err == nil {
				info("Promoted learner %s", member.Name)
				break
			}
			if _, known := since[member.ID]; !known {
				since[member.ID] = time.Now()
			}
			for _, endpoint := range member.ClientURLs {
				if status, err := e.client.Status(call, endpoint); err == nil && status.RaftAppliedIndex > progress[member.ID] {
					progress[member.ID], since[member.ID] = status.RaftAppliedIndex, time.Now()
				}
			}
			if time.Since(since[member.ID]) > mayStall {
				if _, err := e.client.MemberRemove(call, member.ID); err == nil {
					warn("Removed learner %s from etcd cluster", member.Name)
				}
			}
			break
		}
		cancel()
	}
}

// remove takes a node's member out of the cluster. It does not remove itself: K3s, pkg/etcd/etcd.go, RemovePeer.
func (e *Etcd) remove(ctx context.Context, node, address string) error {
	members, err := e.client.MemberList(ctx)
	if err != nil {
		return err
	}
	for _, member := range members.Members {
		for _, peer := range member.PeerURLs {
			at, err := url.Parse(peer)
			if err != nil || at.Hostname() != address {
				continue
			}
			if member.Name != "" && nodeOfMember(member.Name) != node {
				continue
			}
			if member.ID == uint64(e.server.Server.MemberID()) {
				return errors.New("not removing self from etcd cluster")
			}
			info("Removing name=%s id=%d address=%s from etcd", member.Name, member.ID, address)
			if _, err := e.client.MemberRemove(ctx, member.ID); err != nil && !errors.Is(err, rpctypes.ErrMemberNotFound) {
				return err
			}
		}
	}
	return nil
}

// oldDir is where the data of before goes when other data takes its place.
func oldDir() string { return fmt.Sprintf("%s-old-%d", etcdDir, time.Now().Unix()) }
