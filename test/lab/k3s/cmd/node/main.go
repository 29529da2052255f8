// The node binary: upstream's components and the glue between them, chosen by the name it is called by.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"k8s.io/component-base/version"
)

func main() {
	name := filepath.Base(os.Args[0])
	if run := component(name); run != nil {
		os.Exit(run())
	}
	if len(os.Args) < 2 {
		usage()
		os.Exit(1)
	}
	args := os.Args[2:]
	switch command := os.Args[1]; command {
	case "server":
		runServer(args)
	case "agent":
		runAgent(args)
	case "kubectl", "ctr":
		os.Args = append([]string{command}, args...)
		os.Exit(component(command)())
	case "etcd-snapshot":
		exit(snapshotCommand(args))
	case "token":
		exit(tokenCommand(args))
	case "certificate":
		exit(certificateCommand(args))
	case "secrets-encrypt":
		exit(secretsEncryptCommand(args))
	case "--version", "-v", "version":
		fmt.Printf("k3s version %s (test double)\ngo version %s\n", version.Get().GitVersion, runtime.Version())
	case "crictl", "completion", "check-config":
		exit(fmt.Errorf("%s is not part of the lab's k3s", command))
	default:
		usage()
		os.Exit(1)
	}
}

func usage() {
	fmt.Fprintln(os.Stderr, strings.TrimSpace(`
NAME: k3s - the lab's test double of K3s: upstream components behind K3s's interface
COMMANDS: server, agent, kubectl, ctr, etcd-snapshot, token, certificate, secrets-encrypt, --version`))
}

func exit(err error) {
	if err != nil {
		fatal("%v", err)
	}
	os.Exit(0)
}
