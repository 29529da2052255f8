package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// The worker of n8n gives tasks to the runner beside it: the runner asks for them at the worker's broker. The real ones talk
// over a websocket; what is kept is who needs whom, and the token.

// task is a job that waits for a runner.
type task struct {
	job
	runner chan *self
}

type broker struct {
	me    *self
	tasks chan task
	given sync.Map // of tasks, by their job's id
}

// openBroker listens beside a worker. In N8N_RUNNERS_MODE=internal, the default, there is none: the worker runs tasks itself.
func openBroker(me *self) (*broker, error) {
	b := &broker{me: me, tasks: make(chan task)}
	if me.vars("N8N_RUNNERS_MODE") != "external" {
		return b, nil
	}
	address := net.JoinHostPort(me.vars.or("N8N_RUNNERS_BROKER_LISTEN_ADDRESS", "127.0.0.1"), me.vars.or("N8N_RUNNERS_BROKER_PORT", "5679"))
	listener, err := net.Listen("tcp", address)
	if err == nil {
		go http.Serve(listener, b.handler())
	}
	return b, err
}

func (b *broker) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", text(`{"status":"ok"}`))
	mux.HandleFunc("POST /runners/task", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+b.me.vars("N8N_RUNNERS_AUTH_TOKEN") {
			http.Error(w, "the token is another one", http.StatusForbidden)
			return
		}
		select {
		case next := <-b.tasks:
			b.given.Store(next.ID, next)
			answer(w, http.StatusOK, next.job)
		case <-r.Context().Done():
		case <-time.After(10 * time.Second):
			w.WriteHeader(http.StatusNoContent)
		}
	})
	mux.HandleFunc("POST /runners/done/{id}", func(w http.ResponseWriter, r *http.Request) {
		var runner self
		given, there := b.given.LoadAndDelete(r.PathValue("id"))
		if err := json.NewDecoder(r.Body).Decode(&runner); err != nil || !there {
			http.NotFound(w, r)
			return
		}
		given.(task).runner <- &runner
	})
	return mux
}

// run has a runner do a task, and tells which one did.
func (b *broker) run(ctx context.Context, wanted job) (*self, error) {
	if b.me.vars("N8N_RUNNERS_MODE") != "external" {
		return b.me, nil
	}
	timeout := time.Duration(b.me.vars.number("N8N_RUNNERS_TASK_REQUEST_TIMEOUT", 60)) * time.Second
	next, late := task{wanted, make(chan *self, 1)}, time.After(timeout)
	select {
	case b.tasks <- next:
	case <-late:
		return nil, fmt.Errorf("no runner took the task within %s", timeout)
	}
	select {
	case runner := <-next.runner:
		return runner, nil
	case <-late:
		return nil, fmt.Errorf("the runner did not finish within %s", timeout)
	}
}

var runnerRoles = []role{
	{"runner", "task-runner-launcher javascript python", always("N8N_RUNNERS_AUTH_TOKEN"), always("/tmp"), runner},
}

func runner(ctx context.Context, me *self) error {
	return me.serve(ctx, server{
		port: me.vars.number("N8N_RUNNERS_LAUNCHER_HEALTH_CHECK_PORT", 5680), grace: 10 * time.Second,
		routes: func(mux *http.ServeMux, _ func(context.Context) error) {
			mux.HandleFunc("/healthz", text(`{"status":"ok"}`))
		},
		work: func(ctx context.Context) error {
			failed := make(chan error, 1)
			for range me.vars.number("N8N_RUNNERS_MAX_CONCURRENCY", 10) {
				go func() { failed <- runTasks(ctx, me) }()
			}
			return <-failed
		},
	})
}

// runTasks asks for tasks until the context is done. It waits for a broker that is not there, and ends when it is refused.
func runTasks(ctx context.Context, me *self) error {
	uri := me.vars.or("N8N_RUNNERS_TASK_BROKER_URI", "http://127.0.0.1:5679")
	for ctx.Err() == nil {
		status, body, err := post(ctx, me, uri+"/runners/task", nil)
		if status == http.StatusForbidden {
			return fmt.Errorf("the broker at %s refuses: %s", uri, body)
		}
		if err != nil || status != http.StatusOK {
			if err != nil {
				time.Sleep(time.Second)
			}
			continue
		}
		var given job
		json.Unmarshal(body, &given)
		own, _ := json.Marshal(me)
		if _, _, err := post(context.WithoutCancel(ctx), me, uri+"/runners/done/"+given.ID, own); err != nil {
			me.log("%s", errors.Join(errors.New("the worker went away"), err))
		}
	}
	return nil
}

func post(ctx context.Context, me *self, url string, content []byte) (int, []byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(content))
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("Authorization", "Bearer "+me.vars("N8N_RUNNERS_AUTH_TOKEN"))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, bytes.TrimSpace(body), err
}
