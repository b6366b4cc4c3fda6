#!/usr/bin/env bash
# Go benchmarks of the hot paths, then the load program: CPU time (and, where perf
# works, user instructions) per request of the server process, beside references in the
# same run. PostgreSQL is measured where TEST_POSTGRES_DSN names an empty database or
# a server is installed.
set -euo pipefail
cd "$(dirname "$0")/.."
echo "== Go benchmarks"
go test -run '^$' -bench . -benchtime "${BENCHTIME:-300ms}" \
  ./rules/... ./policies ./authn ./mutators ./decision ./fingerprint ./oauth2/... ./store/sql ./proxy/...
echo
echo "== load"
if ! command -v wrk >/dev/null 2>&1; then
  echo "wrk is not installed: apt-get install wrk" >&2
  exit 1
fi
run=(go run ./bench/load -binary bin/gatewarden "$@")
if [ -z "${TEST_POSTGRES_DSN:-}" ] && { command -v initdb || ls /usr/lib/postgresql/*/bin/initdb; } >/dev/null 2>&1; then
  run=(./bench/postgres.sh "${run[@]}")
fi
"${run[@]}"
