package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

var supersetRoles = []role{
	{"web", "gunicorn superset.app:create_app()", supersetNeeds, supersetWrites, supersetWeb},
	{"web", "run-server.sh", supersetNeeds, supersetWrites, supersetWeb},
	{"worker", "celery --app=superset.tasks.celery_app:app worker", supersetNeeds, supersetWrites, supersetWorker},
	{"beat", "celery --app=superset.tasks.celery_app:app beat", supersetNeeds, supersetWrites, supersetBeat},
	{"upgrade", "superset db upgrade", supersetNeeds, supersetWrites, supersetUpgrade},
	{"init", "superset init", supersetNeeds, supersetWrites, supersetInit},
	{"admin", "superset fab create-admin", supersetNeeds, supersetWrites, supersetAdmin},
	{"alive", "python", always("REDIS_URI"), nil, supersetAlive},
}

// supersetNeeds are the variables that the configuration reads, besides those that this program itself takes its
// backends from: it cannot run Python.
func supersetNeeds(given vars) []string {
	names := []string{"DATABASE_URI", "REDIS_URI", "SUPERSET_SECRET_KEY", "GUEST_TOKEN_JWT_SECRET"}
	config, err := os.ReadFile(supersetConfig(given))
	if err != nil {
		return append(names, supersetConfig(given)+" (a file)")
	}
	return append(names, namesIn(string(config))...)
}

func supersetConfig(given vars) string {
	return given.or("SUPERSET_CONFIG_PATH", filepath.Join(given.or("PYTHONPATH", "/app/pythonpath"), "superset_config.py"))
}

func supersetWrites(given vars) []string {
	return []string{given.or("SUPERSET_HOME", "/app/superset_home"), "/tmp"}
}

func supersetDatabase(me *self, connections int) (*postgres, error) {
	return openPostgres(me, strings.Replace(me.vars("DATABASE_URI"), "+psycopg2:", ":", 1), connections)
}

// supersetServer is what web, worker and beat have in common.
func supersetServer(me *self) (server, *postgres, queue, error) {
	s := server{grace: 30 * time.Second}
	db, err := supersetDatabase(me, me.vars.number("DATABASE_CONNECTIONS", 5))
	if err != nil {
		return s, nil, queue{}, err
	}
	store, err := openRedisURL(me.vars("REDIS_URI"), "")
	if err != nil {
		return s, nil, queue{}, err
	}
	s.backends = []backend{db, store}
	s.prepare = func(ctx context.Context) error {
		if there, err := db.has(ctx, "alembic_version"); err != nil || !there {
			return errors.Join(err, errors.New("the database has no tables of Superset: superset db upgrade has not run"))
		}
		return db.keeps(ctx, "SUPERSET_SECRET_KEY")
	}
	return s, db, queue{store, "celery", "standin:active"}, nil
}

func supersetWeb(ctx context.Context, me *self) error {
	s, _, jobs, err := supersetServer(me)
	if err != nil {
		return err
	}
	_, port, _ := strings.Cut(me.argument("-b", "--bind"), ":")
	if s.port, err = strconv.Atoi(port); err != nil {
		s.port = me.vars.number("SUPERSET_PORT", 8088)
	}
	s.routes = func(mux *http.ServeMux, _ func(context.Context) error) {
		mux.HandleFunc("/health", text("OK"))
		mux.HandleFunc("/login/", page("/login/", "<!doctype html><title>Superset</title><p>"+me.String()))
		mux.Handle("/{$}", http.RedirectHandler("/login/", http.StatusFound))
		mux.HandleFunc("/standin/job", jobs.handler(me))
	}
	return me.serve(ctx, s)
}

func supersetWorker(ctx context.Context, me *self) error {
	s, db, jobs, err := supersetServer(me)
	if err != nil {
		return err
	}
	s.work = func(ctx context.Context) error {
		go jobs.tellAlive(ctx, me)
		jobs.take(ctx, me.numberIn(4, "-c", "--concurrency"), db.writes)
		return nil
	}
	return me.serve(ctx, s)
}

func supersetBeat(ctx context.Context, me *self) error {
	s, _, _, err := supersetServer(me)
	if err != nil {
		return err
	}
	for _, flag := range []string{"--pidfile", "--schedule"} {
		if err := writable(filepath.Dir(me.argument(flag))); err != nil {
			return err
		}
	}
	return me.serve(ctx, s)
}

// supersetUpgrade makes the tables. It fails where the real one would wait for ever: beside pods that use them (#33252).
func supersetUpgrade(ctx context.Context, me *self) error {
	db, err := supersetDatabase(me, 1)
	if err != nil {
		return err
	}
	others := 0
	err = db.QueryRow(ctx, `select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()
		and application_name ~ '^superset/(web|worker|beat) '`).Scan(&others)
	if err == nil && others > 0 {
		err = fmt.Errorf("%d sessions of web, worker or beat are open: the migration would lock up with them", others)
	}
	if err == nil {
		err = db.change(ctx, standinTable, "create table if not exists alembic_version (version_num text primary key)")
	}
	if err == nil {
		me.log("the database is that of %s", me.Version)
	}
	return err
}

func supersetInit(ctx context.Context, me *self) error {
	db, err := supersetDatabase(me, 1)
	if err != nil {
		return err
	}
	_, err = db.write(ctx, "roles and permissions")
	return err
}

func supersetAdmin(ctx context.Context, me *self) error {
	db, err := supersetDatabase(me, 1)
	if err != nil {
		return err
	}
	name := me.argument("--username")
	if name == "" || me.argument("--password") == "" && me.vars("FLASK_FAB_CREATE_ADMIN_PASSWORD") == "" {
		return errors.New("the user's name or password is missing: the real one would ask for it")
	}
	_, err = db.write(ctx, "administrator "+name)
	return err
}

// supersetAlive is the script that probes of the worker run: does it take jobs?
func supersetAlive(ctx context.Context, me *self) error {
	if _, err := os.Stat(me.args[len(me.args)-1]); err != nil {
		return err
	}
	store, err := openRedisURL(me.vars("REDIS_URI"), "")
	if err != nil {
		return err
	}
	return queue{store: store}.alive(ctx, me)
}
