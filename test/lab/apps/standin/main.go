// A stand-in for the applications whose images cannot be had in the lab. One program plays all of their processes: which
// one is told by the image that it runs in (STANDIN_IMAGE) and by its arguments, which are those of the real one.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"
)

// role is one of the processes that an image can be started as.
type role struct {
	process string
	// The words of its command, in this order. Flags may stand between them.
	command string
	// The variables without which the real one does not start, or does not work.
	needs func(vars) []string
	// The folders that the real one writes into.
	writes func(vars) []string
	run    func(context.Context, *self) error
}

var roles = map[string][]role{
	"platform-api":   apiRoles,
	"platform-front": frontRoles,
	"chatwoot":       chatwootRoles,
	"n8n":            n8nRoles,
	"runners":        runnerRoles,
	"superset":       supersetRoles,
}

// self is this process, as it tells others of itself.
type self struct {
	App     string `json:"app"`
	Process string `json:"process"`
	Version string `json:"version"`
	Pod     string `json:"pod"`
	Node    string `json:"node,omitempty"`
	vars    vars
	args    []string
}

func (me *self) String() string {
	return fmt.Sprintf("%s/%s %s %s", me.App, me.Process, me.Version, me.Pod)
}

func (me *self) log(format string, words ...any) {
	fmt.Fprintf(os.Stderr, "%s %s\n", time.Now().UTC().Format(time.RFC3339), fmt.Sprintf(format, words...))
}

func main() {
	me, role, err := identify(os.Getenv("STANDIN_IMAGE"), os.Args, os.Getenv)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(127)
	}
	me.log("(a stand-in) %s", me)
	if err := fit(role, me, os.Getuid()); err != nil {
		me.log("%s %s does not start: %s", me.App, me.Process, err)
		os.Exit(1)
	}
	if strings.HasPrefix(me.Version, "crash") {
		time.AfterFunc(3*time.Second, func() {
			me.log("%s %s crashes: this image does, three seconds after its start", me.App, me.Process)
			os.Exit(1)
		})
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := role.run(ctx, me); err != nil {
		me.log("%s %s fails: %s", me.App, me.Process, err)
		os.Exit(1)
	}
}

// identify tells which process of which application this is.
func identify(image string, argv []string, get vars) (*self, role, error) {
	name, version, _ := strings.Cut(path.Base(image), ":")
	words := slices.Clone(argv)
	if path.Base(words[0]) == "tini" && len(words) > 2 {
		words = words[2:]
	}
	words[0] = path.Base(words[0])
	if words[0] == "docker-entrypoint.sh" {
		words[0] = "n8n"
		if len(words) == 1 {
			words = append(words, "start")
		}
	}
	if name == "n8n" {
		get = get.orFiles()
	}
	for _, role := range roles[name] {
		if inOrder(words, strings.Fields(role.command)) {
			me := &self{name, role.process, version, get.or("HOSTNAME", "none"), get("NODE_NAME"), get, words}
			return me, role, nil
		}
	}
	return nil, role{}, fmt.Errorf("the stand-in of %q does not know the command: %s", image, strings.Join(argv, " "))
}

// inOrder says whether words begin with the first of some, and have the others in this order.
func inOrder(words, some []string) bool {
	if words[0] != some[0] {
		return false
	}
	for _, word := range words {
		if len(some) > 0 && word == some[0] {
			some = some[1:]
		}
	}
	return len(some) == 0
}

// fit says why a process would not start where it is.
func fit(role role, me *self, uid int) error {
	var faults []error
	if uid == 0 {
		faults = append(faults, errors.New("it runs as root, the manifests say another user"))
	}
	if role.needs != nil {
		if missing := me.vars.missing(role.needs(me.vars)); len(missing) > 0 {
			faults = append(faults, fmt.Errorf("not set: %s", strings.Join(missing, ", ")))
		}
	}
	if role.writes != nil {
		for _, folder := range role.writes(me.vars) {
			if err := writable(folder); err != nil {
				faults = append(faults, err)
			}
		}
	}
	return oneLine(faults)
}

func oneLine(faults []error) error {
	var texts []string
	for _, fault := range faults {
		texts = append(texts, strings.Join(strings.Fields(fault.Error()), " "))
	}
	if len(texts) == 0 {
		return nil
	}
	return errors.New(strings.Join(texts, "; "))
}
