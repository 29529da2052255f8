package main

import (
	"flag"
	"fmt"
	"io"
	"strings"
)

type options struct {
	configMap     string
	class         string
	defaultSecret string
	lock          string
	readyPort     int
	metricsPort   int
}

// switches are arguments of the real controller with its defaults, and the only value that the stand-in has.
var switches = []struct {
	name           string
	otherwise, has bool
}{
	{"enable-custom-resources", true, false},
	{"enable-telemetry-reporting", true, false},
	{"nginx-status", true, false},
	{"health-status", false, false},
	{"disable-ipv6", false, true},
	{"enable-config-safety", false, true},
	{"enable-leader-election", true, true},
	{"enable-prometheus-metrics", false, true},
	{"enable-latency-metrics", false, true},
	{"ready-status", true, true},
	{"report-ingress-status", false, true},
}

// parseOptions refuses every argument that the stand-in does not act on.
func parseOptions(arguments []string) (options, error) {
	var parsed options
	set := flag.NewFlagSet("nginx-ingress", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.StringVar(&parsed.configMap, "nginx-configmaps", "", "")
	set.StringVar(&parsed.class, "ingress-class", "nginx", "")
	set.StringVar(&parsed.defaultSecret, "default-server-tls-secret", "", "")
	set.StringVar(&parsed.lock, "leader-election-lock-name", "nginx-ingress-leader-election", "")
	set.IntVar(&parsed.readyPort, "ready-status-port", 8081, "")
	set.IntVar(&parsed.metricsPort, "prometheus-metrics-listen-port", 9113, "")
	values := map[string]*bool{}
	for _, one := range switches {
		values[one.name] = set.Bool(one.name, one.otherwise, "")
	}
	if err := set.Parse(arguments); err != nil {
		return parsed, err
	}
	if set.NArg() > 0 {
		return parsed, fmt.Errorf("unhandled arguments: %q", set.Args())
	}
	for _, one := range switches {
		if *values[one.name] != one.has {
			return parsed, fmt.Errorf("-%s is %t, and the lab's stand-in only has -%s=%t", one.name, !one.has, one.name, one.has)
		}
	}
	for name, value := range map[string]string{"nginx-configmaps": parsed.configMap, "default-server-tls-secret": parsed.defaultSecret} {
		if _, _, err := splitName(value); value != "" && err != nil {
			return parsed, fmt.Errorf("invalid value for %s: %w", name, err)
		}
	}
	if parsed.configMap == "" {
		return parsed, fmt.Errorf("-nginx-configmaps is missing, and the lab's stand-in needs it")
	}
	for name, port := range map[string]int{"ready-status-port": parsed.readyPort, "prometheus-metrics-listen-port": parsed.metricsPort} {
		if port < 1024 || port > 65535 {
			return parsed, fmt.Errorf("invalid value for %s: port %d is outside of 1024 - 65535", name, port)
		}
	}
	return parsed, nil
}

func splitName(value string) (namespace, name string, err error) {
	namespace, name, found := strings.Cut(value, "/")
	if !found || namespace == "" || name == "" || strings.Contains(name, "/") {
		return "", "", fmt.Errorf("%q must follow the format <namespace>/<name>", value)
	}
	return namespace, name, nil
}
