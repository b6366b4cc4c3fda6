#!/usr/bin/env bash
# Formatting, vet, module hygiene and the linters of .golangci.yml when installed.
set -euo pipefail
cd "$(dirname "$0")/.."
unformatted=$(gofmt -l $(git ls-files '*.go'))
if [ -n "$unformatted" ]; then
  printf 'not formatted, run gofmt -w:\n%s\n' "$unformatted" >&2
  exit 1
fi
go vet ./...
go mod verify >/dev/null
if command -v golangci-lint >/dev/null 2>&1; then
  golangci-lint run
else
  echo "NOTE: golangci-lint is not installed; its checks did not run." >&2
fi
