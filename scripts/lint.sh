#!/usr/bin/env bash
# Formatting, vet, module hygiene, and linters: golangci-lint with .golangci.yml where
# it is installed, else staticcheck at a pinned version where it can be had.
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
  exec golangci-lint run
fi
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
if GOBIN=$tools GOFLAGS=-mod=mod go install honnef.co/go/tools/cmd/staticcheck@v0.8.2 2>"$tools/log"; then
  "$tools/staticcheck" -tests=false ./...
  echo "NOTE: golangci-lint is not installed; staticcheck ran in its place." >&2
else
  cat "$tools/log" >&2
  echo "NOTE: neither golangci-lint nor staticcheck could be had; NO LINTER RAN." >&2
fi
