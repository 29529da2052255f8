#!/bin/sh
# What the official image's does, with its defaults.
exec gunicorn --bind "${SUPERSET_BIND_ADDRESS:-0.0.0.0}:${SUPERSET_PORT:-8088}" --workers "${SERVER_WORKER_AMOUNT:-1}" \
  --worker-class "${SERVER_WORKER_CLASS:-gthread}" --threads "${SERVER_THREADS_AMOUNT:-20}" --timeout "${GUNICORN_TIMEOUT:-60}" \
  "${FLASK_APP:-superset.app:create_app()}"
