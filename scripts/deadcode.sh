#!/usr/bin/env bash
# Fails when a function is reached by no program and by no test. Arguments: the modules of the workspace.
set -euo pipefail
cd "$(dirname "$0")/.."

patterns=()
for module in "$@"; do
  packages=$(go list "./$module/...")
  if [ -n "$packages" ]; then patterns+=("./$module/..."); fi
done
[ "${#patterns[@]}" -gt 0 ] || exit 0

# Where there is no program and no test, all would be dead.
roots=$(go list -test -f '{{if eq .Name "main"}}{{.ImportPath}}{{end}}' "${patterns[@]}")
[ -n "$roots" ] || exit 0

found=$(bin/deadcode -test "${patterns[@]}")
if [ -n "$found" ]; then
  printf '%s\n' "$found" >&2
  exit 1
fi
