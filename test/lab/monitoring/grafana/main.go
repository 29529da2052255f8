// A stand-in for Grafana, whose image the lab cannot have: it reads what is provisioned, refuses what does not fit, and
// renders nothing. The README beside says what it keeps and what it lacks.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Set by the build.
var version = "0.0.0"

func main() {
	given, err := readSettings(os.Environ())
	if err == nil {
		if path.Base(os.Args[0]) == "grafana" {
			err = command(given, os.Args[1:])
		} else {
			err = serve(given)
		}
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "Grafana (a stand-in) does not start: %s\n", err)
		os.Exit(1)
	}
}

// command is `grafana cli admin reset-admin-password`, with the password as an argument or from standard input.
func command(given settings, words []string) error {
	at := slices.Index(words, "reset-admin-password")
	if at < 0 || !slices.Contains(words[:at], "cli") {
		return fmt.Errorf("the stand-in has no %q", strings.Join(words, " "))
	}
	users, err := openUsers(given)
	if err != nil {
		return err
	}
	rest := slices.DeleteFunc(slices.Clone(words[at+1:]), func(word string) bool { return strings.HasPrefix(word, "-") })
	if slices.Contains(words, "--password-from-stdin") {
		line, _ := bufio.NewReader(os.Stdin).ReadString('\n')
		rest = []string{strings.TrimRight(line, "\r\n")}
	}
	if len(rest) == 0 || len(rest[0]) < 4 {
		return errors.New("new password is too short")
	}
	return users.set(rest[0])
}

func serve(given settings) error {
	fmt.Fprintf(os.Stderr, "Grafana %s (a stand-in)\n", version)
	if err := given.check(); err != nil {
		return err
	}
	users, err := openUsers(given)
	if err != nil {
		return err
	}
	there, err := readProvisioning(given)
	if err != nil {
		return err
	}
	me := newServer(given, users, there)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	go me.reread(ctx, there.every)
	listening := &http.Server{Addr: given.get("server", "http_addr") + ":" + given.get("server", "http_port"), Handler: me.handler()}
	failed := make(chan error, 1)
	go func() { failed <- listening.ListenAndServe() }()
	fmt.Fprintf(os.Stderr, "listens on %s; %d dashboards\n", listening.Addr, len(there.dashboards))
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return listening.Shutdown(last)
}
