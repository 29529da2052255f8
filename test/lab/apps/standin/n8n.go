package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/redis/go-redis/v9"
)

var n8nRoles = []role{
	{"main", "n8n start", n8nNeeds(), n8nWrites, n8nMain},
	{"webhook", "n8n webhook", n8nNeeds(), n8nWrites, n8nWebhook},
	{"worker", "n8n worker", n8nNeeds("N8N_RUNNERS_AUTH_TOKEN"), n8nWrites, n8nWorker},
}

func n8nNeeds(also ...string) func(vars) []string {
	return always(append([]string{
		"DB_TYPE", "DB_POSTGRESDB_HOST", "DB_POSTGRESDB_DATABASE", "DB_POSTGRESDB_USER", "DB_POSTGRESDB_PASSWORD",
		"EXECUTIONS_MODE", "QUEUE_BULL_REDIS_HOST", "N8N_ENCRYPTION_KEY",
	}, also...)...)
}

func n8nWrites(given vars) []string {
	return []string{filepath.Join(given.or("N8N_USER_FOLDER", given.or("HOME", "/home/node")), ".n8n"), "/tmp"}
}

// n8nServer is what all three have in common.
func n8nServer(me *self) (server, *postgres, queue, error) {
	given := me.vars
	s := server{port: given.number("N8N_PORT", 5678), grace: time.Duration(given.number("N8N_GRACEFUL_SHUTDOWN_TIMEOUT", 30)) * time.Second}
	if given("DB_TYPE") != "postgresdb" || given("EXECUTIONS_MODE") != "queue" {
		return s, nil, queue{}, errors.New("only DB_TYPE=postgresdb and EXECUTIONS_MODE=queue are played here")
	}
	db, err := openPostgres(me, postgresURL(given("DB_POSTGRESDB_HOST"), given.or("DB_POSTGRESDB_PORT", "5432"),
		given("DB_POSTGRESDB_DATABASE"), given("DB_POSTGRESDB_USER"), given("DB_POSTGRESDB_PASSWORD")), given.number("DB_POSTGRESDB_POOL_SIZE", 2))
	if err != nil {
		return s, nil, queue{}, err
	}
	store := openRedis(&redis.Options{
		Addr: given("QUEUE_BULL_REDIS_HOST") + ":" + given.or("QUEUE_BULL_REDIS_PORT", "6379"), DB: given.number("QUEUE_BULL_REDIS_DB", 0),
		Username: given("QUEUE_BULL_REDIS_USERNAME"), Password: given("QUEUE_BULL_REDIS_PASSWORD"),
	})
	// The lists that the real one's queue (Bull) keeps: who scales by their length finds it here too.
	jobs := queue{store, "bull:jobs:wait", "bull:jobs:active"}
	s.backends = []backend{db, store}
	s.prepare = func(ctx context.Context) error {
		file := filepath.Join(n8nWrites(given)[0], "config")
		if err := os.WriteFile(file, []byte("{}"), 0o600); err != nil {
			return err
		}
		go endWithout(ctx, me, store, time.Duration(given.number("QUEUE_BULL_REDIS_TIMEOUT_THRESHOLD", 10_000))*time.Millisecond)
		return db.keeps(ctx, "N8N_ENCRYPTION_KEY")
	}
	s.routes = func(mux *http.ServeMux, ready func(context.Context) error) {
		path := "/" + strings.Trim(given.or("N8N_ENDPOINT_HEALTH", "healthz"), "/")
		mux.HandleFunc(path, text(`{"status":"ok"}`))
		mux.HandleFunc(path+"/readiness", whenReady(ready))
	}
	return s, db, jobs, nil
}

// endWithout ends the process when Redis has been away for longer, as the real one does.
func endWithout(ctx context.Context, me *self, store *redisBackend, longer time.Duration) {
	seen := time.Now()
	for ; ctx.Err() == nil; time.Sleep(time.Second) {
		if pingAll(ctx, []backend{store}) == nil {
			seen = time.Now()
		} else if time.Since(seen) > longer && ctx.Err() == nil {
			me.log("%s %s ends: Redis has been away for more than %s", me.App, me.Process, longer)
			os.Exit(1)
		}
	}
}

var (
	webhookPaths = []string{"/webhook/", "/webhook-waiting/", "/form/", "/form-waiting/", "/mcp/"}
	webhookExact = []string{"/webhook-waiting-slack", "/webhook-waiting-telegram"}
)

func n8nWebhook(ctx context.Context, me *self) error {
	s, _, jobs, err := n8nServer(me)
	if err != nil {
		return err
	}
	common := s.routes
	s.routes = func(mux *http.ServeMux, ready func(context.Context) error) {
		common(mux, ready)
		for _, path := range slices.Concat(webhookPaths, webhookExact) {
			mux.HandleFunc(path, jobs.handler(me))
		}
		mux.HandleFunc("/", orMetrics(me, jobs, http.NotFound))
	}
	return me.serve(ctx, s)
}

func n8nMain(ctx context.Context, me *self) error {
	s, _, jobs, err := n8nServer(me)
	if err != nil {
		return err
	}
	common := s.routes
	s.routes = func(mux *http.ServeMux, ready func(context.Context) error) {
		common(mux, ready)
		for _, path := range slices.Concat(webhookPaths, webhookExact) {
			if me.vars("N8N_DISABLE_PRODUCTION_MAIN_PROCESS") == "true" {
				mux.HandleFunc(path, editor(me))
			} else {
				mux.HandleFunc(path, jobs.handler(me))
			}
		}
		// The origin must be the host that was asked, as the client saw it.
		mux.HandleFunc("/rest/push", socket(`{"type":"connected"}`, &websocket.AcceptOptions{}))
		mux.HandleFunc("/", orMetrics(me, jobs, editor(me)))
	}
	return me.serve(ctx, s)
}

// editor gives the page of the editor for every path that it does not know, also for those of webhooks that it does not take.
func editor(me *self) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			http.NotFound(w, r)
			return
		}
		page(r.URL.Path, "<!doctype html><title>n8n</title><p>"+me.String())(w, r)
	}
}

// orMetrics takes requests for metrics, which every process answers. The real one does not mind capitals and a slash at the end.
func orMetrics(me *self, jobs queue, other http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if me.vars("N8N_METRICS") == "true" && strings.EqualFold(strings.TrimSuffix(r.URL.Path, "/"), "/metrics") {
			n8nMetrics(w, r, me, jobs)
			return
		}
		other(w, r)
	}
}

// Main alone tells of the queue, and leads.
func n8nMetrics(w http.ResponseWriter, r *http.Request, me *self, jobs queue) {
	fmt.Fprintf(w, "n8n_version_info{version=\"v%s\"} 1\nn8n_nodejs_eventloop_lag_p99_seconds 0.001\n", me.Version)
	if me.Process != "main" {
		return
	}
	fmt.Fprint(w, "n8n_instance_role_leader 1\n")
	if me.vars("N8N_METRICS_INCLUDE_SCHEDULER_METRICS") == "true" {
		fmt.Fprint(w, "n8n_scheduler_oldest_pending_age_seconds 0\n")
	}
	if me.vars("N8N_METRICS_INCLUDE_QUEUE_METRICS") == "true" {
		for name, count := range jobs.counts(r.Context()) {
			fmt.Fprintf(w, "n8n_scaling_mode_queue_jobs_%s %d\n", name, count)
		}
	}
}

func n8nWorker(ctx context.Context, me *self) error {
	s, db, jobs, err := n8nServer(me)
	if err != nil {
		return err
	}
	s.port = 0
	if me.vars("QUEUE_HEALTH_CHECK_ACTIVE") == "true" || me.vars("N8N_METRICS") == "true" {
		s.port = me.vars.number("QUEUE_HEALTH_CHECK_PORT", 5678)
	}
	common := s.routes
	s.routes = func(mux *http.ServeMux, ready func(context.Context) error) {
		common(mux, ready)
		mux.HandleFunc("/", orMetrics(me, jobs, http.NotFound))
	}
	s.work = func(ctx context.Context) error {
		runners, err := openBroker(me)
		if err != nil {
			return err
		}
		jobs.take(ctx, me.numberIn(10, "--concurrency"), func(ctx context.Context, wanted job) done {
			runner, err := runners.run(ctx, wanted)
			if err != nil {
				return done{Worker: me, Error: err.Error()}
			}
			result := db.writes(ctx, wanted)
			result.Runner = runner
			return result
		})
		return nil
	}
	return me.serve(ctx, s)
}
