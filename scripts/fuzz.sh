#!/usr/bin/env bash
# Runs every fuzz target of the module, each for the given time (default 60s).
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-60s}
failed=0
while IFS=: read -r file target; do
  pkg=./$(dirname "$file")
  echo "== fuzz $pkg $target for $time"
  go test "$pkg" -run '^$' -fuzz "^$target\$" -fuzztime "$time" || failed=1
done < <(grep -rno --include='*_test.go' 'func Fuzz[A-Za-z0-9_]*' . | grep -v '^./third_party/' | sed -E 's/^\.\/([^:]+):[0-9]+:func (Fuzz.*)$/\1:\2/')
exit "$failed"
