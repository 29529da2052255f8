package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/jackc/pgx/v5"
)

var chatwootRoles = []role{
	{"web", "bundle exec rails s", chatwootNeeds, chatwootWrites, chatwootWeb},
	{"sidekiq", "bundle exec sidekiq -C config/sidekiq.yml", chatwootNeeds, chatwootWrites, sidekiq},
	{"prepare", "bundle exec rails db:chatwoot_prepare", chatwootNeeds, chatwootWrites, chatwootPrepare},
	{"runner", "bundle exec rails runner", chatwootNeeds, chatwootWrites, chatwootRunner},
	{"entry point", "rails.sh", nil, nil, func(context.Context, *self) error {
		return errors.New("the image's entry point runs bundle install at each start: the manifests give a command")
	}},
}

func chatwootNeeds(given vars) []string {
	names := []string{
		"RAILS_ENV", "FRONTEND_URL", "SECRET_KEY_BASE", "REDIS_URL", "ACTIVE_RECORD_ENCRYPTION_PRIMARY_KEY",
		"ACTIVE_RECORD_ENCRYPTION_DETERMINISTIC_KEY", "ACTIVE_RECORD_ENCRYPTION_KEY_DERIVATION_SALT",
	}
	if given("DATABASE_URL") == "" {
		names = append(names, "POSTGRES_HOST", "POSTGRES_DATABASE", "POSTGRES_USERNAME", "POSTGRES_PASSWORD")
	}
	if given("ACTIVE_STORAGE_SERVICE") == "s3_compatible" {
		names = append(names, "STORAGE_BUCKET_NAME", "STORAGE_REGION", "STORAGE_ENDPOINT", "STORAGE_ACCESS_KEY_ID", "STORAGE_SECRET_ACCESS_KEY")
	}
	return names
}

func chatwootWrites(given vars) []string {
	folders := []string{"/app/tmp/cache", "/app/tmp/pids", "/tmp"}
	if given("RAILS_LOG_TO_STDOUT") == "" {
		folders = append(folders, "/app/log")
	}
	if given.or("ACTIVE_STORAGE_SERVICE", "local") == "local" {
		folders = append(folders, "/app/storage")
	}
	return folders
}

func chatwootDatabase(me *self, connections int) (*postgres, error) {
	given := me.vars
	if err := rubyCanUse(given.or("TMPDIR", "/tmp")); err != nil {
		return nil, err
	}
	return openPostgres(me, given.or("DATABASE_URL", postgresURL(given("POSTGRES_HOST"), given.or("POSTGRES_PORT", "5432"),
		given("POSTGRES_DATABASE"), given("POSTGRES_USERNAME"), given("POSTGRES_PASSWORD"))), connections)
}

// rubyCanUse says why Ruby would not take a folder for its temporary files (tmpdir.rb).
func rubyCanUse(folder string) error {
	info, err := os.Stat(folder)
	if err == nil && info.Mode()&0o002 != 0 && info.Mode()&os.ModeSticky == 0 {
		err = fmt.Errorf("could not find a temporary directory: everybody may write to %s", folder)
	}
	return err
}

// chatwootServer is what web and sidekiq have in common.
func chatwootServer(me *self, connections int) (server, *postgres, queue, error) {
	s := server{grace: 25 * time.Second}
	db, err := chatwootDatabase(me, connections)
	if err != nil {
		return s, nil, queue{}, err
	}
	store, err := openRedisURL(me.vars("REDIS_URL"), me.vars("REDIS_PASSWORD"))
	if err != nil {
		return s, nil, queue{}, err
	}
	s.backends = []backend{db, store}
	if me.vars("ACTIVE_STORAGE_SERVICE") == "s3_compatible" {
		objects, err := openBucket(me.vars("STORAGE_ENDPOINT"), me.vars("STORAGE_BUCKET_NAME"), me.vars("STORAGE_REGION"),
			me.vars("STORAGE_ACCESS_KEY_ID"), me.vars("STORAGE_SECRET_ACCESS_KEY"))
		if err != nil {
			return s, nil, queue{}, err
		}
		s.backends = append(s.backends, objects)
	}
	s.prepare = func(ctx context.Context) error {
		if there, err := db.has(ctx, "installation_configs"); err != nil || !there {
			return errors.Join(err, errors.New("the database has no tables of Chatwoot: db:chatwoot_prepare has not run"))
		}
		return db.keeps(ctx, "SECRET_KEY_BASE", "ACTIVE_RECORD_ENCRYPTION_PRIMARY_KEY")
	}
	return s, db, queue{store, "queue:default", "standin:active"}, nil
}

func chatwootWeb(ctx context.Context, me *self) error {
	if err := holdPidfile("/app/tmp/pids/server.pid"); err != nil {
		return err
	}
	s, db, jobs, err := chatwootServer(me, me.vars.number("RAILS_MAX_THREADS", 5))
	if err != nil {
		return err
	}
	s.port = me.numberIn(3000, "-p", "--port")
	s.routes = func(mux *http.ServeMux, _ func(context.Context) error) {
		mux.HandleFunc("/health", text(`{"status":"woot"}`))
		mux.HandleFunc("/api", func(w http.ResponseWriter, r *http.Request) {
			// In this order: who looks for it looks for text.
			answer(w, http.StatusOK, struct {
				Version       string `json:"version"`
				Timestamp     string `json:"timestamp"`
				QueueServices string `json:"queue_services"`
				DataServices  string `json:"data_services"`
			}{strings.Trim(me.Version, "v-ce"), time.Now().UTC().Format(time.DateTime), service(r.Context(), jobs.store), service(r.Context(), db)})
		})
		mux.HandleFunc("/cable", socket(`{"type":"welcome"}`, &websocket.AcceptOptions{
			Subprotocols: []string{"actioncable-v1-json", "actioncable-unsupported"}, InsecureSkipVerify: true,
		}))
		mux.HandleFunc("/standin/job", jobs.handler(me))
		mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
			brand, err := installed(r.Context(), db)
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			page("/", fmt.Sprintf("<!doctype html><title>%s</title><p>%s", html.EscapeString(brand), me))(w, r)
		})
	}
	return me.serve(ctx, s)
}

// holdPidfile does what Rails does with its server.pid.
func holdPidfile(file string) error {
	if content, err := os.ReadFile(file); err == nil {
		if _, err := os.Stat("/proc/" + strings.TrimSpace(string(content))); err == nil {
			return fmt.Errorf("a server is already running, says %s", file)
		}
	}
	return os.WriteFile(file, []byte(strconv.Itoa(os.Getpid())), 0o644)
}

func service(ctx context.Context, one backend) string {
	if pingAll(ctx, []backend{one}) != nil {
		return "failing"
	}
	return "ok"
}

// sidekiq takes jobs, and answers on its port for as long as it does.
func sidekiq(ctx context.Context, me *self) error {
	threads := me.vars.number("SIDEKIQ_CONCURRENCY", 10)
	s, db, jobs, err := chatwootServer(me, threads)
	if err != nil {
		return err
	}
	s.port = me.vars.number("SIDEKIQ_ALIVE_PORT", 7433)
	s.routes = func(mux *http.ServeMux, _ func(context.Context) error) {
		mux.HandleFunc(me.vars.or("SIDEKIQ_ALIVE_PATH", "/"), func(w http.ResponseWriter, r *http.Request) {
			if err := jobs.alive(r.Context(), me); err != nil {
				http.Error(w, err.Error(), http.StatusNotFound)
				return
			}
			text("Alive!")(w, r)
		})
	}
	s.work = func(ctx context.Context) error {
		go jobs.tellAlive(ctx, me)
		jobs.take(ctx, threads, db.writes)
		return nil
	}
	return me.serve(ctx, s)
}

// chatwootPrepare makes what Chatwoot's schema begins with: its extensions, and the table of its names and logos.
func chatwootPrepare(ctx context.Context, me *self) error {
	db, err := chatwootDatabase(me, 1)
	if err != nil {
		return err
	}
	for _, extension := range []string{"pg_stat_statements", "pg_trgm", "pgcrypto", "plpgsql", "vector"} {
		if _, err := db.Exec(ctx, fmt.Sprintf(`create extension if not exists "%s"`, extension)); err != nil {
			return fmt.Errorf("extension %s: %w", extension, err)
		}
	}
	err = db.change(ctx, standinTable,
		`create table if not exists installation_configs (id bigint generated always as identity primary key, name text not null unique,
		serialized_value jsonb not null default '{}', locked boolean not null default true,
		created_at timestamptz not null default now(), updated_at timestamptz not null default now())`,
		`insert into installation_configs (name, serialized_value)
		select name, '{"value": "Chatwoot"}' from unnest(array['INSTALLATION_NAME', 'BRAND_NAME']) name on conflict do nothing`)
	if err == nil {
		me.log("the database is that of %s", me.Version)
	}
	return err
}

// chatwootRunner cannot run Ruby. It reads the script for the variables that it needs, and does what brand.rb does with BRAND.
func chatwootRunner(ctx context.Context, me *self) error {
	script, err := os.ReadFile(filepath.Clean(me.args[len(me.args)-1]))
	if err != nil {
		return err
	}
	if missing := me.vars.missing(namesIn(string(script))); len(missing) > 0 {
		return fmt.Errorf("key not found: %s", strings.Join(missing, ", "))
	}
	var brand map[string]json.RawMessage
	if err := json.Unmarshal([]byte(me.vars("BRAND")), &brand); err != nil {
		return fmt.Errorf("BRAND: %w", err)
	}
	db, err := chatwootDatabase(me, 1)
	if err != nil {
		return err
	}
	for name, value := range brand {
		_, err := db.Exec(ctx, `insert into installation_configs (name, serialized_value) values ($1, jsonb_build_object('value', $2::jsonb))
			on conflict (name) do update set serialized_value = excluded.serialized_value, updated_at = now()`, name, string(value))
		if err != nil {
			return err
		}
		fmt.Printf("%s is %s\n", name, value)
	}
	return nil
}

func installed(ctx context.Context, db *postgres) (name string, err error) {
	err = db.QueryRow(ctx, "select serialized_value->>'value' from installation_configs where name = 'INSTALLATION_NAME'").Scan(&name)
	if errors.Is(err, pgx.ErrNoRows) {
		return "Chatwoot", nil
	}
	return name, err
}
