package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	balancerName = "k3s-agent-load-balancer"
	balancerFile = agentDir + "/etc/" + balancerName + ".json"
	failsFor     = 10 * time.Second
)

// How K3s numbers the health of a server: pkg/agent/loadbalancer/servers.go. The others of its states are not known here.
const (
	healthFailed  = 1
	healthStandby = 2
	healthHealthy = 5
	healthActive  = 7
)

// Balancer is the agent's own way to all servers, on 127.0.0.1:6444: docs.k3s.io/architecture, "Fixed Registration
// Address for Agent Nodes".
type Balancer struct {
	lock    sync.Mutex
	first   string
	servers []string
	failed  map[string]time.Time
	open    map[string]map[net.Conn]bool
	next    int
}

func newBalancer(first string) *Balancer {
	b := &Balancer{first: first, failed: map[string]time.Time{}, open: map[string]map[net.Conn]bool{}}
	var kept struct{ ServerAddresses []string }
	if content, err := os.ReadFile(balancerFile); err == nil && json.Unmarshal(content, &kept) == nil {
		b.servers = kept.ServerAddresses
	}
	return b
}

func (b *Balancer) serve(ctx context.Context) error {
	listener, err := net.Listen("tcp", "127.0.0.1:6444")
	if err != nil {
		return err
	}
	info("Running load balancer "+balancerName+" 127.0.0.1:6444 -> %v [default: %s]", b.servers, b.first)
	go func() {
		<-ctx.Done()
		listener.Close()
	}()
	go func() {
		for ctx.Err() == nil {
			if connection, err := listener.Accept(); err == nil {
				go b.carry(connection)
			}
		}
	}()
	go func() {
		for ; ctx.Err() == nil; time.Sleep(time.Second) {
			b.report()
		}
	}()
	go func() {
		for ; ctx.Err() == nil; time.Sleep(2 * time.Second) {
			b.check()
		}
	}()
	return nil
}

// order is every known server, from the next one on; those that failed of late come last, and the address that the
// agent was given last of all.
func (b *Balancer) order() []string {
	b.lock.Lock()
	defer b.lock.Unlock()
	b.next++
	var good, bad []string
	for i := range b.servers {
		server := b.servers[(b.next+i)%len(b.servers)]
		if b.isFailing(server) {
			bad = append(bad, server)
		} else {
			good = append(good, server)
		}
	}
	if !slices.Contains(b.servers, b.first) {
		if len(b.servers) == 0 {
			return []string{b.first}
		}
		bad = append(bad, b.first)
	}
	return append(good, bad...)
}

func (b *Balancer) carry(client net.Conn) {
	defer client.Close()
	began := time.Now()
	server, upstream, err := b.connect()
	observe(balancerDials, began, err, balancerName)
	if err != nil {
		return
	}
	b.track(server, upstream, true)
	defer b.track(server, upstream, false)
	defer upstream.Close()
	if tcp, is := upstream.(*net.TCPConn); is {
		_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3})
	}
	done := make(chan struct{}, 2)
	pipe := func(to, from net.Conn) {
		_, _ = io.Copy(to, from)
		done <- struct{}{}
	}
	go pipe(upstream, client)
	go pipe(client, upstream)
	<-done
}

// connect answers with the first server that takes a connection.
func (b *Balancer) connect() (string, net.Conn, error) {
	for _, server := range b.order() {
		if connection, err := b.dial(server); err == nil {
			return server, connection, nil
		}
	}
	return "", nil, errors.New("all servers failed")
}

// dial remembers a server that does not answer. The lock is not held.
func (b *Balancer) dial(server string) (net.Conn, error) {
	connection, err := net.DialTimeout("tcp", server, 3*time.Second)
	if err != nil {
		b.lock.Lock()
		b.failed[server] = time.Now()
		b.lock.Unlock()
	}
	return connection, err
}

func (b *Balancer) isFailing(server string) bool { return time.Since(b.failed[server]) < failsFor }

// check tries every server, where K3s sees by its tunnels which ones are there.
func (b *Balancer) check() {
	b.lock.Lock()
	servers := slices.Clone(b.servers)
	b.lock.Unlock()
	var group sync.WaitGroup
	for _, server := range servers {
		group.Go(func() {
			if connection, err := b.dial(server); err == nil {
				connection.Close()
			}
		})
	}
	group.Wait()
}

// report says how each server is. The address that the agent was given is a stand-by where it is no server of the list.
func (b *Balancer) report() {
	b.lock.Lock()
	defer b.lock.Unlock()
	health := map[string]float64{b.first: healthStandby}
	for _, server := range b.servers {
		switch {
		case b.isFailing(server):
			health[server] = healthFailed
		case len(b.open[server]) > 0:
			health[server] = healthActive
		default:
			health[server] = healthHealthy
		}
	}
	for server, is := range health {
		balancerHealth.WithLabelValues(balancerName, server).Set(is)
		balancerConnections.WithLabelValues(balancerName, server).Set(float64(len(b.open[server])))
	}
}

func (b *Balancer) track(server string, connection net.Conn, opened bool) {
	b.lock.Lock()
	defer b.lock.Unlock()
	if b.open[server] == nil {
		b.open[server] = map[net.Conn]bool{}
	}
	if opened {
		b.open[server][connection] = true
	} else {
		delete(b.open[server], connection)
	}
}

// set takes the servers that there are now; connections to one that is gone are closed, so that clients move on.
func (b *Balancer) set(servers []string) {
	if len(servers) == 0 {
		return
	}
	slices.Sort(servers)
	b.lock.Lock()
	defer b.lock.Unlock()
	if slices.Equal(servers, b.servers) {
		return
	}
	info("Updated load balancer "+balancerName+" server addresses -> %v [default: %s]", servers, b.first)
	for _, gone := range b.servers {
		if !slices.Contains(servers, gone) {
			balancerHealth.DeleteLabelValues(balancerName, gone)
			balancerConnections.DeleteLabelValues(balancerName, gone)
		}
	}
	b.servers = servers
	for server, connections := range b.open {
		if !slices.Contains(servers, server) {
			for connection := range connections {
				connection.Close()
			}
		}
	}
	content, err := json.Marshal(map[string]any{"ServerURL": "https://" + b.first, "ServerAddresses": servers})
	if err == nil {
		_ = writeFile(balancerFile, content, 0o600)
	}
}

// learn follows the addresses of the Service kubernetes.
func (b *Balancer) learn(ctx context.Context, credentials string) {
	for ; ctx.Err() == nil; time.Sleep(2 * time.Second) {
		client, err := clientFor(credentials)
		if err != nil {
			continue
		}
		options := metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=kubernetes"}
		listed, err := client.DiscoveryV1().EndpointSlices("default").List(ctx, options)
		if err != nil {
			continue
		}
		b.set(addressesOf(listed.Items))
		options.ResourceVersion = listed.ResourceVersion
		changes, err := client.DiscoveryV1().EndpointSlices("default").Watch(ctx, options)
		if err != nil {
			continue
		}
		for change := range changes.ResultChan() {
			if slice, is := change.Object.(*discoveryv1.EndpointSlice); is && change.Type != "DELETED" {
				b.set(addressesOf([]discoveryv1.EndpointSlice{*slice}))
			}
		}
	}
}
