package main

import (
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

var (
	childrenLock sync.Mutex
	children     = map[int]*exec.Cmd{}
	stopping     bool
	spawn        = make(chan func())
)

func init() {
	// The death signal follows the thread that forked, not the process: one thread forks all and never ends.
	go func() {
		runtime.LockOSThread()
		for start := range spawn {
			start()
		}
	}()
}

// command prepares a component as a child that dies with this process.
func command(name string, args ...string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		fatal("%v", err)
	}
	child := exec.Command(self, args...)
	child.Args[0] = name
	child.Stdout, child.Stderr = os.Stderr, os.Stderr
	child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	return child
}

func start(child *exec.Cmd) error {
	done := make(chan error)
	spawn <- func() { done <- child.Start() }
	err := <-done
	if err == nil {
		childrenLock.Lock()
		children[child.Process.Pid] = child
		childrenLock.Unlock()
	}
	return err
}

func wait(child *exec.Cmd) error {
	err := child.Wait()
	childrenLock.Lock()
	delete(children, child.Process.Pid)
	childrenLock.Unlock()
	return err
}

func call(child *exec.Cmd) error {
	if err := start(child); err != nil {
		return err
	}
	return wait(child)
}

// keep runs a component for as long as this process lives. The controller-manager, for one, ends itself on an
// empty cluster, where RBAC objects it needs are not there yet, and whenever it loses its lease.
func keep(name string, args ...string) {
	info("Running %s %v", name, args)
	for pause := time.Second; ; pause = min(pause*2, 15*time.Second) {
		began := time.Now()
		err := call(command(name, args...))
		if isStopping() {
			return
		}
		if time.Since(began) > time.Minute {
			pause = time.Second
		}
		problem("%s exited: %v", name, err)
		time.Sleep(pause)
	}
}

func isStopping() bool {
	childrenLock.Lock()
	defer childrenLock.Unlock()
	return stopping
}

func killChildren() {
	childrenLock.Lock()
	defer childrenLock.Unlock()
	stopping = true
	for _, child := range children {
		_ = child.Process.Signal(syscall.SIGTERM)
	}
}
