package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// settings is what the ConfigMap says; texts go into nginx.conf as they are, as the real controller has it.
type settings struct {
	proxyProtocol, realIPRecursive, serverTokens, redirectToHTTPS bool
	realIPHeader, statusAddress                                   string
	realIPFrom, snippets, logFormat                               []string
	connectTimeout, readTimeout, sendTimeout, maxBodySize         string
	workerProcesses, workerConnections, workerShutdownTimeout     string
	keepaliveTimeout, errorLogLevel                               string
}

func defaultSettings() settings {
	return settings{
		serverTokens: true, connectTimeout: "60s", readTimeout: "60s", sendTimeout: "60s", maxBodySize: "1m",
		workerProcesses: "auto", workerConnections: "1024", keepaliveTimeout: "75s", errorLogLevel: "notice",
	}
}

// parseSettings tells which values are wrong, and ignored, and which keys the stand-in does not know.
func parseSettings(data map[string]string) (parsed settings, wrong, unknown []string) {
	parsed = defaultSettings()
	text := func(into *string) func(string) error {
		return func(value string) error { *into = value; return nil }
	}
	list := func(into *[]string, separator string) func(string) error {
		return func(value string) error { *into = strings.Split(value, separator); return nil }
	}
	truth := func(into *bool) func(string) error {
		return func(value string) error {
			held, err := strconv.ParseBool(value)
			if err != nil {
				return fmt.Errorf("contains invalid bool: %w, ignoring", err)
			}
			*into = held
			return nil
		}
	}
	keys := map[string]func(string) error{
		"proxy-protocol":          truth(&parsed.proxyProtocol),
		"real-ip-header":          text(&parsed.realIPHeader),
		"real-ip-recursive":       truth(&parsed.realIPRecursive),
		"set-real-ip-from":        list(&parsed.realIPFrom, ","),
		"external-status-address": text(&parsed.statusAddress),
		"proxy-connect-timeout":   text(&parsed.connectTimeout),
		"proxy-read-timeout":      text(&parsed.readTimeout),
		"proxy-send-timeout":      text(&parsed.sendTimeout),
		"client-max-body-size":    text(&parsed.maxBodySize),
		"server-tokens":           truth(&parsed.serverTokens),
		"redirect-to-https":       truth(&parsed.redirectToHTTPS),
		"worker-connections":      text(&parsed.workerConnections),
		"worker-shutdown-timeout": text(&parsed.workerShutdownTimeout),
		"keepalive-timeout":       text(&parsed.keepaliveTimeout),
		"error-log-level":         text(&parsed.errorLogLevel),
		"log-format":              list(&parsed.logFormat, "\n"),
		"http-snippets":           list(&parsed.snippets, "\n"),
		"worker-processes": func(value string) error {
			if _, err := strconv.Atoi(value); err != nil && value != "auto" {
				return fmt.Errorf("is neither a number nor auto, ignoring")
			}
			parsed.workerProcesses = value
			return nil
		},
	}
	for key, value := range data {
		take, known := keys[key]
		if !known {
			unknown = append(unknown, key)
		} else if err := take(value); err != nil {
			wrong = append(wrong, fmt.Sprintf("'%s' %v", key, err))
		}
	}
	slices.Sort(wrong)
	slices.Sort(unknown)
	return parsed, wrong, unknown
}
