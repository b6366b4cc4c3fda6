#!/usr/bin/env bash
# Runs all tests. The race detector needs cgo and a C compiler; a machine without
# one runs the tests without it and is told so.
set -euo pipefail
cd "$(dirname "$0")/.."
race=-race
if ! command -v "$(go env CC)" >/dev/null 2>&1; then
  if [ "${CI:-}" = true ]; then
    echo "no C compiler: the race detector cannot run, which CI requires" >&2
    exit 1
  fi
  echo "NOTE: no C compiler found, so the tests run without the race detector." >&2
  race= CGO_ENABLED=0
  export CGO_ENABLED
fi
TEST_SKIPPED=$(mktemp)
export TEST_SKIPPED
trap 'rm -f "$TEST_SKIPPED"' EXIT
status=0
# -p 2: the tests start databases and servers; more packages at once only wait.
go test ${race:+"$race"} -p "${TEST_PACKAGES:-2}" -timeout 15m "$@" ./... || status=$?
if [ -s "$TEST_SKIPPED" ]; then
  printf '\n*** NOT EVERYTHING WAS TESTED ***\n' >&2
  sort -u "$TEST_SKIPPED" >&2
fi
exit "$status"
