#!/bin/sh
# The first line of each script calls this: start.sh SCRIPT ARGUMENTS. It starts the script with the Node that is first in
# PATH, and says in one line where there is none (sudo, cron) or an old one. Before 22.18 Node cannot even read the scripts.
script=$1
shift
root=$(cd "$(dirname "$0")/../.." && pwd)
version=$(NODE_OPTIONS='' node --version 2>/dev/null)
case $version in
  v[0-9].* | v1[0-9].* | v2[0-3].* | v24.[01].*) found="this is ${version#v}" ;;
  v*) found= ;;
  *) found='PATH has none' ;;
esac
if [ -n "$found" ]; then
  install="(cd $root && npm ci) && "
  [ ! -x "$root/node_modules/.bin/node" ] || install=
  echo "Node 24.2 or later is needed, $found. Run: ${install}export PATH=$root/node_modules/.bin:\$PATH" >&2
  exit 64
fi

# These change what Node does, or that it checks certificates.
unset NODE_OPTIONS NODE_TLS_REJECT_UNAUTHORIZED
# Downloads go through HTTPS_PROXY. From 24.14 on the scripts can say so themselves.
export NODE_USE_ENV_PROXY=1
# Node forgets that nohup made it ignore SIGHUP (node: src/node.cc, "Restore signal dispositions"): bit 0 of SigIgn.
KEYBUZZ_NOHUP=
while read -r name mask; do
  case $name-$mask in SigIgn:-*[13579bdf]) KEYBUZZ_NOHUP=1 ;; esac
done </proc/self/status
export KEYBUZZ_NOHUP
exec node "$script" "$@"
