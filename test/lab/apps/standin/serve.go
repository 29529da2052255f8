package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

// server is what a lasting process does.
type server struct {
	// 0 if it does not listen.
	port     int
	backends []backend
	// Called when the backends work: what else must hold before it is ready.
	prepare func(context.Context) error
	routes  func(mux *http.ServeMux, ready func(context.Context) error)
	// What it does beside, until the context is done and what has begun is finished.
	work func(context.Context) error
	// The time after SIGTERM for requests that have begun.
	grace time.Duration
}

// How often a process tries its backends at its start: network policies may take a moment to know a new pod.
const tries = 5

// serve listens, uses the backends, and serves until the context is done. Then it takes no more, and answers what has begun.
func (me *self) serve(ctx context.Context, s server) error {
	var started atomic.Bool
	ready := func(ctx context.Context) error {
		if strings.HasPrefix(me.Version, "broken") {
			return errors.New("this image never gets ready")
		}
		if !started.Load() {
			return errors.New("it is starting")
		}
		return pingAll(ctx, s.backends)
	}
	mux := http.NewServeMux()
	me.routes(mux, s.backends)
	if s.routes != nil {
		s.routes(mux, ready)
	}
	listening := &http.Server{Addr: fmt.Sprintf(":%d", s.port), Handler: me.signed(mux)}
	failed := make(chan error, 2)
	if s.port != 0 {
		go func() { failed <- listening.ListenAndServe() }()
	}
	if err := me.begin(ctx, s); ctx.Err() != nil {
		return nil
	} else if err != nil {
		return err
	}
	started.Store(true)
	me.log("%s %s is ready; port %d", me.App, me.Process, s.port)
	worked := make(chan error, 1)
	if s.work != nil {
		go func() { worked <- s.work(ctx) }()
	}
	select {
	case err := <-failed:
		return err
	case err := <-worked:
		if ctx.Err() == nil {
			return err
		}
		worked <- err
	case <-ctx.Done():
	}
	me.log("told to end: finishing what has begun")
	last, cancel := context.WithTimeout(context.Background(), s.grace)
	defer cancel()
	if s.work != nil {
		select {
		case err := <-worked:
			if err != nil {
				return err
			}
		case <-last.Done():
			return fmt.Errorf("work was left undone after %s", s.grace)
		}
	}
	return listening.Shutdown(last)
}

func (me *self) begin(ctx context.Context, s server) error {
	for try := 1; ; try++ {
		err := useAll(ctx, s.backends)
		if err == nil {
			break
		}
		if try == tries || ctx.Err() != nil {
			return err
		}
		if try == 1 {
			me.log("trying again: %s", err)
		}
		time.Sleep(time.Second)
	}
	if s.prepare == nil {
		return nil
	}
	return s.prepare(ctx)
}

// pingAll is for readiness: PostgreSQL and Redis answer.
func pingAll(ctx context.Context, backends []backend) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	for _, one := range backends {
		var err error
		switch one := one.(type) {
		case *postgres:
			err = one.Ping(ctx)
		case *redisBackend:
			err = one.Ping(ctx).Err()
		}
		if err != nil {
			return fmt.Errorf("%s: %w", one.name(), err)
		}
	}
	return nil
}

// signed has every answer say who gave it.
func (me *self) signed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Standin", me.String())
		next.ServeHTTP(w, r)
	})
}

// routes are the stand-in's own paths, which tests use.
func (me *self) routes(mux *http.ServeMux, backends []backend) {
	mux.HandleFunc("/standin/who", func(w http.ResponseWriter, r *http.Request) {
		received, _ := io.Copy(io.Discard, r.Body)
		answer(w, http.StatusOK, struct {
			*self
			Request map[string]any `json:"request"`
		}{me, map[string]any{
			"host": r.Host, "from": r.RemoteAddr, "proto": r.Header.Get("X-Forwarded-Proto"),
			"client": r.Header.Get("X-Forwarded-For"), "bytes": received,
		}})
	})
	mux.HandleFunc("/standin/check", func(w http.ResponseWriter, r *http.Request) {
		found, status := map[string]string{}, http.StatusOK
		for _, one := range backends {
			found[one.name()] = "ok"
			if err := used(r.Context(), one); err != nil {
				found[one.name()], status = err.Error(), http.StatusServiceUnavailable
			}
		}
		answer(w, status, found)
	})
	mux.HandleFunc("/standin/slow", func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(milliseconds(r))
		answer(w, http.StatusOK, me)
	})
	mux.HandleFunc("/standin/burn", func(w http.ResponseWriter, r *http.Request) {
		sum := sha256.Sum256(nil)
		for end := time.Now().Add(milliseconds(r)); time.Now().Before(end); {
			for range 1000 {
				sum = sha256.Sum256(sum[:])
			}
		}
		answer(w, http.StatusOK, me)
	})
}

// milliseconds gives the parameter ms, a minute at most.
func milliseconds(r *http.Request) time.Duration {
	ms, _ := strconv.Atoi(r.URL.Query().Get("ms"))
	return time.Duration(min(ms, 60_000)) * time.Millisecond
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body)
}

// text answers with the same text always.
func text(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, body) }
}

// page answers a path of its own, and 404 below it, as a mux otherwise would not.
func page(path, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != path {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		io.WriteString(w, body)
	}
}

// whenReady answers 200 if a process can do its work, else 503 and why.
func whenReady(ready func(context.Context) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := ready(r.Context()); err != nil {
			answer(w, http.StatusServiceUnavailable, map[string]string{"status": "error", "why": err.Error()})
			return
		}
		answer(w, http.StatusOK, map[string]string{"status": "ok"})
	}
}

// socket is a websocket: it says welcome, returns what it gets, and pings every three seconds.
func socket(welcome string, options *websocket.AcceptOptions) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		connection, err := websocket.Accept(w, r, options)
		if err != nil {
			return
		}
		defer connection.CloseNow()
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		say := func(text string) error { return connection.Write(ctx, websocket.MessageText, []byte(text)) }
		go func() {
			for ctx.Err() == nil {
				time.Sleep(3 * time.Second)
				say(fmt.Sprintf(`{"type":"ping","message":%d}`, time.Now().Unix()))
			}
		}()
		for err = say(welcome); err == nil; {
			var content []byte
			if _, content, err = connection.Read(ctx); err == nil {
				err = say(string(content))
			}
		}
	}
}
