package main

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"
)

// KeyBuzz API and Front: their images are private. What they need is what our manifests give them.
var apiRoles = []role{
	{"api", "api", always("PORT", "PUBLIC_URL", "DATABASE_URL", "REDIS_URL", "RABBITMQ_URL", "MINIO_ENDPOINT", "MINIO_BUCKET",
		"MINIO_ACCESS_KEY", "MINIO_SECRET_KEY", "SECRET_KEY"), always("/tmp"), api},
	{"migrate", "migrate", always("DATABASE_URL"), nil, apiMigrate},
}

func api(ctx context.Context, me *self) error {
	db, err := openPostgres(me, me.vars("DATABASE_URL"), 10)
	if err != nil {
		return err
	}
	store, err := openRedisURL(me.vars("REDIS_URL"), "")
	if err != nil {
		return err
	}
	objects, err := openBucket(me.vars("MINIO_ENDPOINT"), me.vars("MINIO_BUCKET"), "", me.vars("MINIO_ACCESS_KEY"), me.vars("MINIO_SECRET_KEY"))
	if err != nil {
		return err
	}
	return me.serve(ctx, server{
		port: me.vars.number("PORT", 8080), grace: 30 * time.Second,
		backends: []backend{db, store, rabbitmq{me.vars("RABBITMQ_URL")}, objects},
		routes: func(mux *http.ServeMux, ready func(context.Context) error) {
			mux.HandleFunc("/health", text(`{"status":"ok"}`))
			mux.HandleFunc("/ready", whenReady(ready))
		},
	})
}

func apiMigrate(ctx context.Context, me *self) error {
	db, err := openPostgres(me, me.vars("DATABASE_URL"), 1)
	if err != nil {
		return err
	}
	me.log("migrating to %s", me.Version)
	if strings.HasPrefix(me.Version, "badmigration") {
		return errors.New(`migration 0042_orders: column "customer_id" of relation "orders" contains null values`)
	}
	err = db.change(ctx, standinTable, "create table if not exists standin_versions (version text primary key, at timestamptz not null default now())")
	if err == nil {
		_, err = db.Exec(ctx, "insert into standin_versions values ($1) on conflict do nothing", me.Version)
	}
	if err == nil {
		me.log("the database is that of %s", me.Version)
	}
	return err
}

var frontRoles = []role{
	{"front", "front", always("PORT", "PUBLIC_URL", "API_URL"), always("/tmp"), front},
}

func front(ctx context.Context, me *self) error {
	return me.serve(ctx, server{
		port: me.vars.number("PORT", 3000), grace: 30 * time.Second,
		routes: func(mux *http.ServeMux, _ func(context.Context) error) {
			mux.HandleFunc("/", page("/", "<!doctype html><title>KeyBuzz</title><p>"+me.String()+"<p>API: "+me.vars("API_URL")))
		},
	})
}
