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

while IFS=: read -r file func; do
  go test -run '^$' -fuzz "^${func#func }\$" -fuzztime "$fuzztime" -fuzzminimizetime 1x "./$(dirname "$file")" </dev/null
done <<<"$targets"
