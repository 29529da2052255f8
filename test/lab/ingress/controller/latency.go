package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	discovery "k8s.io/api/discovery/v1"
)

// The times of the pods' answers, in milliseconds, that the real controller counts with -enable-latency-metrics: nginx tells
// each answer over a socket. What nginx answers itself, such as 502 without any pod, is not counted.
var latencyBounds = []float64{
	1, 2, 3, 4, 5, 10, 20, 30, 40, 50, 100, 200, 300, 400, 500, 1000, 2000, 3000, 4000, 5000, 10000, 20000, 30000, 40000, 50000,
}

// peer is a pod behind a path of an Ingress.
type peer struct {
	upstream, server, service, name, namespace, pod string
}

type answers struct {
	peer
	code string
}

type histogram struct {
	counts []int
	all    int
	sum    float64
}

type latencies struct {
	sync.Mutex
	peers map[[2]string]peer
	times map[answers]*histogram
}

// follow forgets the times of pods that are gone.
func (l *latencies) follow(peers []peer) {
	l.Lock()
	defer l.Unlock()
	l.peers = map[[2]string]peer{}
	for _, one := range peers {
		l.peers[[2]string{one.upstream, one.server}] = one
	}
	for of := range l.times {
		if l.peers[[2]string{of.upstream, of.server}] != of.peer {
			delete(l.times, of)
		}
	}
}

// listen counts what nginx tells. nginx connects again by itself where the socket was not there yet.
func (l *latencies) listen() {
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(state, "nginx-syslog.sock"), Net: "unixgram"})
	if err != nil {
		fatal("Failed to create latency metrics listener: %v", err)
	}
	buffer := make([]byte, 1024)
	for {
		if read, err := socket.Read(buffer); err == nil {
			l.count(string(buffer[:read]))
		}
	}
}

// last is what the pod answered that was asked last: before it others may have failed.
func last(list string) string {
	parts := strings.Split(list, ",")
	return strings.TrimSpace(parts[len(parts)-1])
}

func (l *latencies) count(message string) {
	_, text, _ := strings.Cut(message, "nginx: ")
	var told struct {
		ProxyHost            string `json:"proxyHost"`
		UpstreamAddress      string `json:"upstreamAddress"`
		UpstreamStatus       string `json:"upstreamStatus"`
		UpstreamResponseTime string `json:"upstreamResponseTime"`
	}
	if json.Unmarshal([]byte(text), &told) != nil {
		return
	}
	seconds, err := strconv.ParseFloat(last(told.UpstreamResponseTime), 64)
	if err != nil {
		return
	}
	l.Lock()
	defer l.Unlock()
	one, known := l.peers[[2]string{told.ProxyHost, last(told.UpstreamAddress)}]
	if !known {
		return
	}
	of := answers{one, last(told.UpstreamStatus)}
	if l.times[of] == nil {
		l.times[of] = &histogram{counts: make([]int, len(latencyBounds))}
	}
	l.times[of].observe(seconds * 1000)
}

func (h *histogram) observe(value float64) {
	h.all++
	h.sum += value
	for i, bound := range latencyBounds {
		if value <= bound {
			h.counts[i]++
		}
	}
}

func (l *latencies) write(out io.Writer, class string) {
	l.Lock()
	defer l.Unlock()
	const name = "nginx_ingress_controller_upstream_server_response_latency_ms"
	if len(l.times) > 0 {
		fmt.Fprintf(out, "# TYPE %s histogram\n", name)
	}
	for of, times := range l.times {
		labels := fmt.Sprintf("class=%q,code=%q,pod_name=%q,resource_name=%q,resource_namespace=%q,resource_type=%q,server=%q,service=%q,upstream=%q",
			class, of.code, of.pod, of.name, of.namespace, "ingress", of.server, of.service, of.upstream)
		for i, bound := range latencyBounds {
			fmt.Fprintf(out, "%s_bucket{%s,le=%q} %d\n", name, labels, strconv.FormatFloat(bound, 'f', -1, 64), times.counts[i])
		}
		fmt.Fprintf(out, "%s_bucket{%s,le=\"+Inf\"} %d\n%s_sum{%s} %v\n%s_count{%s} %d\n", name, labels, times.all, name, labels, times.sum, name, labels, times.all)
	}
}

// podAt is the name of the pod with an address such as 10.42.1.2:8080.
func podAt(server string, held []*discovery.EndpointSlice) string {
	address := strings.Trim(server[:strings.LastIndex(server, ":")], "[]")
	for _, slice := range held {
		for _, endpoint := range slice.Endpoints {
			if slices.Contains(endpoint.Addresses, address) && endpoint.TargetRef != nil {
				return endpoint.TargetRef.Name
			}
		}
	}
	return ""
}
