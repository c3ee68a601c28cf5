#!/usr/bin/env bash
# Runs every fuzz target of the workspace, one after the other. Argument: how long each (10s).
set -euo pipefail
cd "$(dirname "$0")/.."

fuzztime=${1:-10s}
targets=$(git grep --untracked -oE '^func Fuzz[A-Za-z0-9_]*' -- '*_test.go' || true)
if [ -z "$targets" ]; then
  echo "no fuzz targets"
  exit 0
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT

# fuzz FUNC PACKAGE: runs one target. A worker that is in the middle of an input when the time is up can make go test say
# "context deadline exceeded" and fail, although nothing was found (golang.org/issue/75804). What was found always names an input.
fuzz() {
  local status=0
  go test -run '^$' -fuzz "^$1\$" -fuzztime "$fuzztime" -fuzzminimizetime 1x "$2" </dev/null 2>&1 | tee "$log" || status=$?
  if [ "$status" -eq 0 ]; then return 0; fi
  if grep -q '^ *context deadline exceeded$' "$log" && ! grep -qE 'Failing input|panic:|_test\.go:|minimiz' "$log"; then
    echo "$1: the time was up in the middle of an input; nothing was found"
    return 0
  fi
  return "$status"
}

while IFS=: read -r file func; do
  fuzz "${func#func }" "./$(dirname "$file")"
done <<<"$targets"
