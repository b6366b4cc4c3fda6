#!/usr/bin/env bash
# fuzz.sh [TIME [PATTERN]] runs the fuzz targets of the module whose file and name match
# an extended regular expression (default: all), each for TIME (default 60s), as many
# side by side as there are processors.
set -euo pipefail
cd "$(dirname "$0")/.."
export FUZZ_TIME=${1:-60s}

one() {
  local pkg target out
  pkg=./$(dirname "$1") target=$2
  # Inputs that only reach new code are minimised for a second, not a minute. When the
  # time is up in the middle of that, go test reports its own deadline as a failure; a
  # real one has written the input that fails.
  if out=$(GOMAXPROCS=1 go test "$pkg" -run '^$' -fuzz "^$target\$" -fuzztime "$FUZZ_TIME" -fuzzminimizetime 1s -parallel 1 2>&1) ||
    { grep -q '^ *context deadline exceeded$' <<<"$out" && ! grep -q 'Failing input written\|panic\|DATA RACE' <<<"$out"; }; then
    echo "ok    $pkg $target: $(grep -o 'execs: [0-9]*' <<<"$out" | tail -n 1)"
  else
    printf 'FAIL  %s %s\n%s\n' "$pkg" "$target" "$out"
    return 1
  fi
}
export -f one

targets=$(grep -rno --include='*_test.go' 'func Fuzz[A-Za-z0-9_]*' . | grep -v '/third_party/' |
  sed -E 's/^\.\/([^:]+):[0-9]+:func (Fuzz.*)$/\1 \2/' | grep -E -- "${2:-.}")
echo "== fuzzing $(wc -l <<<"$targets") targets for $FUZZ_TIME each"
xargs -P "$(getconf _NPROCESSORS_ONLN)" -L 1 bash -c 'one "$@"' _ <<<"$targets"
