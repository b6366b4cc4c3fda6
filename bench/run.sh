#!/usr/bin/env bash
# Go benchmarks of the hot paths, then the load script: CPU time (and, where perf
# works, user instructions) per request of the server process, beside a bare tuned
# httputil.ReverseProxy in the same run.
set -euo pipefail
cd "$(dirname "$0")/.."
echo "== Go benchmarks"
go test -run '^$' -bench . -benchtime "${BENCHTIME:-300ms}" \
  ./rules/... ./policies ./authn ./mutators ./oauth2/... ./store/sql ./proxy/...
echo
echo "== load"
if ! command -v wrk >/dev/null 2>&1; then
  echo "wrk is not installed: apt-get install wrk" >&2
  exit 1
fi
go run ./bench/load -binary bin/gatewarden "$@"
