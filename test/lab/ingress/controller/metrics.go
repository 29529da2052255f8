package main

import (
	"bufio"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

var stubStatus = regexp.MustCompile(`(?s)Active connections: (\d+).*?(\d+) (\d+) (\d+).*Reading: (\d+) Writing: (\d+) Waiting: (\d+)`)

// metrics are those of the real controller that are told from nginx itself and from its reloads.
func (c *Controller) metrics(answer http.ResponseWriter, _ *http.Request) {
	answer.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	out := bufio.NewWriter(answer)
	defer out.Flush()
	one := func(kind, name, labels string, value any) {
		fmt.Fprintf(out, "# TYPE %s %s\n%s{class=%q%s} %v\n", name, kind, name, c.class, labels, value)
	}

	const nginx, controller = "nginx_ingress_nginx_", "nginx_ingress_controller_"
	text, err := ask("status.sock", "/stub_status")
	numbers := stubStatus.FindStringSubmatch(text)
	if err != nil || numbers == nil {
		one("gauge", nginx+"up", "", 0)
	} else {
		one("gauge", nginx+"up", "", 1)
		names := "active accepted handled requests reading writing waiting"
		for i, name := range strings.Fields(names) {
			name = "connections_" + name
			if i == 3 {
				name = "http_requests_total"
			}
			kind := "gauge"
			if strings.HasSuffix(name, "ed") || strings.HasSuffix(name, "total") {
				kind = "counter"
			}
			one(kind, nginx+name, "", numbers[i+1])
		}
	}

	c.nginx.counts.Lock()
	defer c.nginx.counts.Unlock()
	for i, reason := range slices.Sorted(maps.Keys(c.nginx.reloads)) {
		if i == 0 {
			fmt.Fprintf(out, "# TYPE %snginx_reloads_total counter\n", controller)
		}
		fmt.Fprintf(out, "%snginx_reloads_total{class=%q,reason=%q} %d\n", controller, c.class, reason, c.nginx.reloads[reason])
	}
	one("counter", controller+"nginx_reload_errors_total", "", c.nginx.failed)
	up := 0
	if c.nginx.lastOK {
		up = 1
	}
	one("gauge", controller+"nginx_last_reload_status", "", up)
	one("gauge", controller+"nginx_last_reload_milliseconds", "", c.nginx.last.Milliseconds())
	c.times.write(out, c.class)
	one("gauge", controller+"ingress_resources_total", `,type="regular"`, c.served.Load())
}
