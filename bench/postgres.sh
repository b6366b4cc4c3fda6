#!/usr/bin/env bash
# Starts a private PostgreSQL with its default durability in a temporary folder, runs
# the given command with TEST_POSTGRES_DSN set, and removes the server afterwards.
set -euo pipefail
initdb=$(command -v initdb || ls /usr/lib/postgresql/*/bin/initdb 2>/dev/null | tail -1)
bin=$(dirname "$initdb")
folder=$(mktemp -d)
as=()
if [ "$(id -u)" = 0 ]; then # PostgreSQL does not run as root
  chown nobody "$folder"
  as=(setpriv --reuid nobody --regid "$(id -g nobody)" --clear-groups)
fi
trap '"${as[@]}" "$bin/pg_ctl" -D "$folder/data" -m immediate -s stop || true; rm -rf "$folder"' EXIT
port=$((20000 + RANDOM % 20000))
cd /
"${as[@]}" "$bin/initdb" -D "$folder/data" -U postgres -A trust -E UTF8 --locale=C >/dev/null
"${as[@]}" "$bin/pg_ctl" -D "$folder/data" -s -w -l "$folder/log" \
  -o "-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=200" start
cd "$OLDPWD"
export TEST_POSTGRES_DSN="postgres://postgres@127.0.0.1:$port/postgres?sslmode=disable"
"$@"
