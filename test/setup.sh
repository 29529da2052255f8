#!/bin/sh
# Installs the packages of package-lock.json, with Node itself, where they are missing or older than the lock file.
set -eu
cd "$(dirname "$0")/.."
stamp=node_modules/.package-lock.json
if [ -f "$stamp" ] && [ ! package-lock.json -nt "$stamp" ]; then exit 0; fi
echo 'Installing the packages of package-lock.json ...'
npm ci --no-fund --no-audit --loglevel=error
touch "$stamp"
