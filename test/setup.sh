#!/bin/sh
# Installs the packages of package-lock.json, with Node itself, where they are missing or older than the lock file.
set -eu
cd "$(dirname "$0")/.."
stamp=node_modules/.package-lock.json
if [ -f "$stamp" ] && [ ! package-lock.json -nt "$stamp" ]; then exit 0; fi
echo 'Installing the packages of package-lock.json ...'

# Says every 20 seconds that it goes on. The sleep gets none of our streams: it outlives the loop for a moment, and
# whoever reads them would wait for it.
began=$(date +%s)
while sleep 20 </dev/null >/dev/null 2>&1 && kill -0 $$ 2>/dev/null; do
  echo "Installing the packages, $(($(date +%s) - began)) s so far"
done &
trap "kill $! 2>/dev/null || :" EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

npm ci --no-fund --no-audit --loglevel=error
touch "$stamp"
